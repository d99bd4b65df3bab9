"""Workplace: the hidden folder beside the results in which one scoring works, and no other."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.run_folder.full_disk import describe_full_disk
from pipeline.scoring.part_files import FOLDERS
from pipeline.scoring.result_files import unfinished
from transform.errors import ConfigError

_LOCK = "lock"


@contextlib.contextmanager
def workplace(out: Path) -> Iterator[Path]:
    """A folder with an empty `part_files.FOLDERS`, removed in the end.

    What a killed scoring left there is removed first; the system drops the lock of a process that
    dies.

    Args:
      out: the first file of the results.

    Raises:
      ConfigError: the folder cannot be written, or another scoring writes the same results.
      OSError: the disk is full.
    """
    folder = unfinished(out.with_suffix(".scoring"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        if describe_full_disk(error) is not None:
            raise
        raise ConfigError(
            f"{out}: cannot be written ({error.strerror}); name another file with --out"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{out}: another scoring is about to write it; wait for it, or name another file "
                "with --out"
            ) from None
        try:
            for name in FOLDERS:
                shutil.rmtree(folder / name, ignore_errors=True)
                (folder / name).mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
