"""The lock of a run's folder: one run, rollback or pruning at a time, and who that is."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from pipeline.run_folder.workdir import Workdir
from transform.errors import ConfigError

FILE = ".lock"
"""In the run's folder."""

_POLL_SECONDS = 0.5


def _silent(line: str) -> None:
    del line


def _note_holder(lock: TextIO, work: str) -> None:
    """Write who holds the lock, for those who are turned away."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {"work": work, "pid": os.getpid(), "host": socket.gethostname(), "since": now}
    # What holds is the lock: a full disk has other ways to be noticed.
    with contextlib.suppress(OSError):
        lock.truncate(0)
        lock.write(json.dumps(holder) + "\n")
        lock.flush()


def _say_holder(lock: TextIO) -> str:
    """Who holds the lock, as the holder noted it."""
    lock.seek(0)
    try:
        holder = json.loads(lock.read())
        return "{work} (process {pid} on {host}, since {since})".format(**holder)
    except (ValueError, KeyError, TypeError):
        # It has the lock and has not noted it yet, or is of another version of ctnet.
        return "another run"


@contextlib.contextmanager
def alone_in(
    workdir: Workdir,
    *,
    work: str = "ctnet run",
    wait: float = 0.0,
    tell: Callable[[str], None] = _silent,
) -> Iterator[None]:
    """Keep others out of a run's folder; the system drops the lock of a process that dies.

    Args:
      workdir: made already.
      work: what the folder is held for, which others are told.
      wait: seconds to wait for whoever holds it.
      tell: called with a line once where it has to wait.

    Raises:
      ConfigError: somebody else is still at work there; the line says who.
    """
    # Not "w": opening must not wipe out what the holder noted.
    with (workdir.root / FILE).open("a+", encoding="utf-8") as lock:
        _acquire(lock, workdir, wait, tell)
        _note_holder(lock, work)
        try:
            yield
        finally:
            lock.truncate(0)


def _acquire(lock: TextIO, workdir: Workdir, wait: float, tell: Callable[[str], None]) -> None:
    deadline = time.monotonic() + wait
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            left = deadline - time.monotonic()
            if left <= 0:
                waited = f" still, after {wait / 60:g} minutes" if wait else ""
                raise ConfigError(
                    f"{workdir.root}: {_say_holder(lock)} is at work in this folder{waited}; wait "
                    "for it, or give another --workdir"
                ) from None
            if not told:
                tell(f"{_say_holder(lock)} is at work in {workdir.root}; waiting for it")
                told = True
            time.sleep(min(_POLL_SECONDS, left))
        else:
            return
