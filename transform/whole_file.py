"""Writing a file that is whole or not there, and saying in one line why it cannot be written."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from transform.errors import StorageError
from transform.tensorflow_errors import is_about_memory, is_about_peer, said_by

UNFINISHED = ".unfinished"
"""Ends the name of what is still being written; whoever finds one may remove it."""

# What TensorFlow's file systems raise. A graph that does not trace raises others.
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
def explaining_failures(what: str, path: str, *, chosen_by: str = "--workdir") -> Iterator[None]:
    """Turn what a full disk or an unwritable folder raises into one line.

    What memory that ran out or a lost worker raises passes: what several workers train is read
    across them while it is written. Where the folder for temporary files is what failed, the line
    names that.

    Args:
      what: is written, as in "the model".
      path: of the file or folder.
      chosen_by: the option or variable by which another place can be chosen.

    Raises:
      StorageError: the writing within the context failed.
    """
    try:
        yield
    except _FILE_ERRORS as error:
        if isinstance(error, tf.errors.OpError) and (
            is_about_memory(error) or is_about_peer(error)
        ):
            raise
        place = path
        if (temporary := _temporary_folder_of(error, path)) is not None:
            place, chosen_by = temporary, "TMPDIR"
        raise StorageError(
            f"{what} cannot be written to {place} ({said_by(error)}); make room there, let "
            f"this user write there, or choose another place with {chosen_by}"
        ) from error


def _temporary_folder_of(error: Exception, path: str) -> str | None:
    """The folder for temporary files where an error names it, or a file there, and not `path`."""
    name = getattr(error, "filename", None)
    if tempfile.tempdir is None or not isinstance(name, str) or name.startswith(path):
        return None
    return tempfile.tempdir if Path(name).is_relative_to(tempfile.tempdir) else None


def write_whole(path: str, content: bytes) -> None:
    """Write a file and its folders, on any file system that TensorFlow knows.

    Raises:
      StorageError: the disk is full, or the folder cannot be written.
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
