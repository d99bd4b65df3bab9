"""Keep what libraries print out of the terminal: it goes to the run's log file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_STDOUT, _STDERR = 1, 2


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


@contextlib.contextmanager
def output_to(path: Path | str) -> Iterator[tuple[TextIO, TextIO]]:
    """Send standard output and error of this process, C++ included, to a file.

    Args:
      path: appended to.

    Yields:
      Text files that still write to the standard output and error of before.
    """
    _flush()
    kept = [os.dup(_STDOUT), os.dup(_STDERR)]
    with contextlib.ExitStack() as stack:
        for descriptor in kept:
            stack.callback(os.close, descriptor)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        stack.callback(os.close, log)
        out, err = (
            stack.enter_context(os.fdopen(os.dup(descriptor), "w", buffering=1))
            for descriptor in kept
        )
        try:
            os.dup2(log, _STDOUT)
            os.dup2(log, _STDERR)
            yield out, err
        finally:
            try:
                _flush()
            except OSError:
                # A full disk took no more of the log; the rest must not come out on the terminal.
                with open(os.devnull, "w") as nowhere:
                    os.dup2(nowhere.fileno(), _STDOUT)
                    os.dup2(nowhere.fileno(), _STDERR)
                    _flush()
            os.dup2(kept[0], _STDOUT)
            os.dup2(kept[1], _STDERR)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Drop what libraries print while they are imported."""
    with output_to(os.devnull):
        yield
