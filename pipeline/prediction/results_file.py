"""The file that `ctnet predict` writes its results to, under its name only when it is finished."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from pipeline.prediction.output import looks_like_results
from transform.errors import ConfigError, CtnetError
from transform.reading import UnusableSliceError
from transform.reading.slice_file import read_head
from transform.whole_file import UNFINISHED


def _is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe, or what a process has open (`/dev/stdout`), and no file.

    Raises:
      OSError: no file can have this name, or a folder may not be entered.
    """
    # These are links to a file where a shell redirects, and still mean the stream.
    of_process = path.absolute().parts[1:2] in (("dev",), ("proc",))
    return path.exists() and (of_process or not path.is_file())


def _check_replaceable(output: Path) -> None:
    """Refuse to write over anything but an earlier result.

    Raises:
      ConfigError: the file is there, holds something, and that is no result, or cannot be read.
    """
    if not output.exists():
        return
    try:
        head = read_head(output)
    except UnusableSliceError as error:
        raise ConfigError(f"{error.detail}; name another file with --output") from error
    if head and not looks_like_results(head.decode("utf-8", errors="replace")):
        raise ConfigError(
            f"{output}: is there already and no earlier result, so that it is not replaced; name "
            "another file with --output"
        )


def _cannot_be_written(output: Path, error: OSError, left: str = "") -> ConfigError:
    return ConfigError(
        f"{output}: cannot be written ({error.strerror}){left}; name another file with --output"
    )


def _left_in(unfinished: Path, answered: int) -> str:
    """Where the answers so far are, as a part of a sentence; a file without any is removed."""
    if not answered or not unfinished.stat().st_size:
        unfinished.unlink()
        return ""
    answers = (
        "1 slice was answered; it is"
        if answered == 1
        else f"{answered} slices were answered; they are"
    )
    return f"; {answers} in {unfinished}"


def _rename(unfinished: Path, target: Path) -> None:
    try:
        unfinished.replace(target)
    except OSError as error:
        raise ConfigError(
            f"{target}: cannot be replaced ({error.strerror}); the results are in {unfinished}"
        ) from error


@dataclasses.dataclass
class Results:
    """Where results go.

    Attributes:
      stream: takes them.
      answered: how many slices the server has answered; to be counted by who writes.
    """

    stream: TextIO
    answered: int = 0


@contextlib.contextmanager
def results_file(output: Path, warned: Callable[[str], None]) -> Iterator[Results]:
    """The file of the results.

    They are written to a hidden file beside `output`, which takes its place in the end. Whatever
    ends the context early leaves `output` as it was, and the hidden file where it holds answers;
    errors then say where it is. Devices and pipes are written as they are.

    Args:
      output: the file.
      warned: is told the same, in one line, by an end that has no line of its own (Ctrl-C).

    Raises:
      ConfigError: the file cannot be written, or would replace what is no earlier result.
    """
    try:
        special = _is_stream(output)
        if not special:
            _check_replaceable(output)
    # A name that no file can have, or a folder that may not be entered.
    except OSError as error:
        raise _cannot_be_written(output, error) from error
    if special:
        try:
            # At the end: what standard output was redirected to keeps what it holds.
            with output.open("a", encoding="utf-8", newline="") as stream:
                yield Results(stream)
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
    results = Results(stream)
    try:
        with stream:
            yield results
    except CtnetError as error:
        # The same error, because its type decides the exit code.
        error.args = (f"{error}{_left_in(unfinished, results.answered)}",)
        raise
    except OSError as error:
        left = _left_in(unfinished, results.answered)
        raise _cannot_be_written(output, error, left) from error
    except BaseException:
        if left := _left_in(unfinished, results.answered):
            warned(f"{output} was not written{left}")
        raise
    _rename(unfinished, target)
