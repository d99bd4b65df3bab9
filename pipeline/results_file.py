"""The file that `ctnet predict` writes its results to, under its name only when it is finished."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from pipeline.prediction_output import HEAD_CHARACTERS, looks_like_results
from transform.errors import ConfigError, CtnetError
from transform.reading import UnusableSliceError
from transform.reading.slice_file import FileKind, file_kind, read_head
from transform.whole_file import UNFINISHED


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    # Not there, or a name that no file can have; predicting it will say so.
    except OSError:
        return False


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path is a folder, or lies in it, by whatever names; a file has nothing within."""
    try:
        return folder.is_dir() and path.resolve().is_relative_to(folder.resolve())
    except OSError:
        return False


def _is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe, or what a process has open (`/dev/stdout`), and no file.

    Raises:
      OSError: no file can have this name, or a folder may not be entered.
    """
    # These are links to a file where a shell redirects, and still mean the stream.
    of_process = path.absolute().parts[1:2] in (("dev",), ("proc",))
    return path.exists() and (of_process or not path.is_file())


def _check_replaceable(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse to write over what is not ours to lose.

    A file that is there already is replaced, as by every other command, unless it is a slice, one
    of the inputs, or in one of the input folders and nothing that was written here before.

    Raises:
      ConfigError: the file is one of these.
    """
    if not output.exists():
        return
    if any(_is_same(one, output) for one in inputs):
        raise ConfigError(f"{output}: is one of the files to predict; name another with --output")
    try:
        head = read_head(output)
    except UnusableSliceError as error:
        raise ConfigError(f"{error.detail}; name another file with --output") from error
    if file_kind(head) is not FileKind.UNKNOWN:
        raise ConfigError(
            f"{output}: is a slice or volume, which results would replace; name another file with "
            "--output"
        )
    text = head.decode("utf-8", errors="replace")[:HEAD_CHARACTERS]
    if any(is_within(output, one) for one in inputs) and not looks_like_results(text):
        raise ConfigError(
            f"{output}: is in a folder to predict, and no earlier result, so that it is not "
            "replaced; name another file with --output"
        )


def _cannot_be_written(output: Path, error: OSError, left: str = "") -> ConfigError:
    return ConfigError(
        f"{output}: cannot be written ({error.strerror}){left}; name another file with --output"
    )


def _left_in(unfinished: Path) -> str:
    """Where the results so far are, as a part of a sentence; an empty file is removed."""
    if unfinished.stat().st_size:
        return f"; what was answered until then is in {unfinished}"
    unfinished.unlink()
    return ""


def _rename(unfinished: Path, target: Path) -> None:
    try:
        unfinished.replace(target)
    except OSError as error:
        raise ConfigError(
            f"{target}: cannot be replaced ({error.strerror}); the results are in {unfinished}"
        ) from error


@contextlib.contextmanager
def results_file(
    output: Path, inputs: Sequence[Path], warned: Callable[[str], None]
) -> Iterator[TextIO]:
    """The stream of the results.

    They are written to a hidden file beside `output`, which takes its place in the end: also where
    the server went away in between (a CtnetError), because what it had answered is still worth
    having. Whatever else ends the context leaves `output` as it was and, where something was
    written, the hidden file. Devices and pipes are written as they are.

    Args:
      output: the file.
      inputs: what is predicted.
      warned: is told, in one line, where unfinished results are.

    Raises:
      ConfigError: the file cannot be written, or would replace what is no earlier result.
    """
    try:
        special = _is_stream(output)
        if not special:
            _check_replaceable(output, inputs)
    # A name that no file can have, or a folder that may not be entered.
    except OSError as error:
        raise _cannot_be_written(output, error) from error
    if special:
        try:
            # At the end: what standard output was redirected to keeps what it holds.
            with output.open("a", encoding="utf-8", newline="") as stream:
                yield stream
        except OSError as error:
            raise _cannot_be_written(output, error) from error
        return
    try:
        # A link stays one, to the file that is replaced.
        target = output.resolve()
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}{UNFINISHED}")
        stream = unfinished.open("x", encoding="utf-8", newline="")
        # Results name patients: a file that others may not read stays one.
        if target.exists():
            shutil.copymode(target, unfinished)
    except OSError as error:
        raise _cannot_be_written(output, error) from error
    try:
        with stream:
            yield stream
    except CtnetError:
        # Nothing new is no reason to lose what is there.
        if _left_in(unfinished):
            _rename(unfinished, target)
        raise
    except OSError as error:
        raise _cannot_be_written(output, error, _left_in(unfinished)) from error
    except BaseException:
        if left := _left_in(unfinished):
            warned(f"{output} was not written{left}")
        raise
    _rename(unfinished, target)
