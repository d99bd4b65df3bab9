"""Writing a file that is whole or not there, and saying in one line why it cannot be written."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from transform.errors import ConfigError

UNFINISHED = ".unfinished"
"""Ends the name of what is still being written; whoever finds one may remove it."""

# What TensorFlow adds to a file system's own words.
_OPERATION = re.compile(r"\{\{function_node .*?\}\}|\[Op:\w+\]")


# What TensorFlow's file systems raise. A lost worker or a graph that does not trace raises others.
_FILE_ERRORS = (
    OSError,
    tf.errors.AlreadyExistsError,
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnknownError,
)


@contextlib.contextmanager
def explaining_failures(what: str, path: str) -> Iterator[None]:
    """Turn what a full disk or an unwritable folder raises into one line.

    Args:
      what: is written, as in "the model".
      path: of the file or folder.

    Raises:
      ConfigError: the writing within the context failed.
    """
    try:
        yield
    except _FILE_ERRORS as error:
        line = _OPERATION.sub("", getattr(error, "message", None) or str(error))
        raise ConfigError(
            f"{what} cannot be written to {path} ({' '.join(line.split())}); make room there, let "
            "this user write there, or choose another place with --workdir"
        ) from error


def write_whole(path: str, content: bytes) -> None:
    """Write a file and its folders, on any file system that TensorFlow knows.

    Raises:
      ConfigError: the disk is full, or the folder cannot be written.
    """
    folder, name = path.rsplit("/", 1)
    unfinished = path + UNFINISHED
    with explaining_failures(name, folder):
        tf.io.gfile.makedirs(folder)
        try:
            with tf.io.gfile.GFile(unfinished, "wb") as file:
                file.write(content)
            tf.io.gfile.rename(unfinished, path, overwrite=True)
        except BaseException:
            if tf.io.gfile.exists(unfinished):
                tf.io.gfile.remove(unfinished)
            raise
