"""Progress: how many slices the workers have scored, looked up while Beam runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

_SECONDS = 0.3


class Watcher(Protocol):
    """Is told how it goes."""

    def scored(self, slices: int) -> None:
        """So many slices were scored until now."""


def count_scored(folder: Path) -> int:
    """Slices by the bytes that workers left (see `model_handler`)."""
    scored = 0
    for file in folder.glob("*"):
        with contextlib.suppress(OSError):
            scored += file.stat().st_size
    return scored


@contextlib.contextmanager
def told_to(watcher: Watcher, folder: Path) -> Iterator[None]:
    """Tell a watcher now and then, until the context is left."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_SECONDS):
            watcher.scored(count_scored(folder))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
