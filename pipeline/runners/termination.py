"""Termination: SIGTERM ends a command as Ctrl-C does, with locks and half files cleared away.

The kernel keeps from the first process of a container every signal that it has no handler for: an
orchestrator that stops a pod would wait for its grace period in vain.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class Terminated(BaseException):
    """Raised in the main thread by SIGTERM; no handler of exceptions takes it for a failure."""

    exit_code = 128 + signal.SIGTERM
    """As shells count it."""


def _raise(number: int, frame: object) -> None:
    # A second one would break off what the first one clears away.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated("SIGTERM")


@contextlib.contextmanager
def raising_on_sigterm() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM, unless a handler of another is there already.

    Raises:
      Terminated: SIGTERM has come.
    """
    before = signal.getsignal(signal.SIGTERM)
    # Python takes handlers from its main thread alone.
    if before is not signal.SIG_DFL or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
