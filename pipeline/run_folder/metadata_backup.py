"""The metadata of a run's folder: checked before a run, copied after each step, restored if lost.

Artifacts stay where they are when `metadata.sqlite` is lost, but nothing knows them any more: not
the cache, not the history, and not the gate, which would pass a worse model for want of a baseline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pipeline.run_folder.workdir import Workdir
from transform.errors import ConfigError

_TABLES = {"Artifact", "Context", "Event", "Execution", "MLMDEnv"}
# Where SQLite keeps what belongs to a file of this name, and would apply to another one.
_SIDE_FILES = ("", "-journal", "-wal", "-shm")
_LOCK_SECONDS = 5.0
# SQLite's result codes by which a file is damaged, not merely out of reach.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclasses.dataclass(frozen=True)
class Restored:
    """Metadata that came back from the copy.

    Attributes:
      why: what was wrong with the file, such as `missing`.
      copied: local time of the copy.
      damaged: where the damaged file has been moved, None where there was none.
    """

    why: str
    copied: datetime.datetime
    damaged: Path | None

    def __str__(self) -> str:
        kept = f"; the damaged file is kept as {self.damaged.name}" if self.damaged else ""
        return (
            f"metadata.sqlite was {self.why} and is restored from its copy of "
            f"{self.copied:%Y-%m-%d %H:%M:%S}: steps that ended later run again{kept}"
        )


@contextlib.contextmanager
def _opened(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_LOCK_SECONDS,
        isolation_level=None,
    )
    with contextlib.closing(connection):
        yield connection


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, 0 where the error is Python's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _damage(file: Path, mode: str) -> str | None:
    """What is wrong with a metadata store, None where nothing is.

    Raises:
      sqlite3.Error: it cannot be looked at.
    """
    if not file.is_file():
        return "missing"
    try:
        with _opened(file, mode) as store:
            if mode == "rw":
                # What only a step would find out after hours of training: no lock, no writing.
                store.execute("BEGIN IMMEDIATE")
                store.execute("ROLLBACK")
            (verdict,) = store.execute("PRAGMA quick_check(1)").fetchone()
            tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as error:
        if _code(error) not in _DAMAGE:
            raise
        return f"damaged ({error})"
    if verdict != "ok":
        return f"damaged ({' '.join(verdict.split())})"
    if not tables >= _TABLES:
        return "empty" if not tables else "no store of ML Metadata"
    return None


def _numbers_of_artifacts(workdir: Workdir) -> Iterator[int]:
    """Execution ids by which the folders of artifacts, STEP/KEY/ID, are called."""
    for folder in workdir.artifacts.glob("*/*/*"):
        if folder.name.isdecimal():
            yield int(folder.name)


def _number_executions_above(file: Path, highest: int) -> None:
    """Have new executions write no folder that is there already.

    A store that is older than the artifacts would give their ids a second time.
    """
    with _opened(file, "rw") as store:
        row = store.execute("SELECT seq FROM sqlite_sequence WHERE name = 'Execution'").fetchone()
        if row is None:
            store.execute("INSERT INTO sqlite_sequence VALUES ('Execution', ?)", (highest,))
        elif row[0] < highest:
            store.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'Execution'", (highest,))


def _move_aside(file: Path, now: datetime.datetime) -> Path | None:
    """Rename a damaged store and what SQLite keeps beside it; None where there is no such file."""
    aside = file.with_name(f"{file.stem}.damaged-{now:%Y%m%d-%H%M%S}{file.suffix}")
    there = file.exists()
    for end in _SIDE_FILES:
        with contextlib.suppress(FileNotFoundError):
            file.with_name(file.name + end).rename(aside.with_name(aside.name + end))
    return aside if there else None


def _remove(file: Path) -> None:
    for end in _SIDE_FILES:
        file.with_name(file.name + end).unlink(missing_ok=True)


def back_up_metadata(workdir: Workdir) -> None:
    """Copy the metadata, whole or not at all; to be called while no step is at work.

    Raises:
      sqlite3.Error, OSError: there is no copy of this state; the copy of before is as it was.
    """
    unfinished = workdir.metadata_backup.with_suffix(".unfinished")
    _remove(unfinished)
    try:
        with _opened(workdir.metadata, "ro") as store, _opened(unfinished, "rwc") as copy:
            store.backup(copy)
        unfinished.replace(workdir.metadata_backup)
    finally:
        _remove(unfinished)


def ensure_metadata(workdir: Workdir) -> Restored | None:
    """Have sound metadata before a run, or none where the run is the folder's first.

    Args:
      workdir: locked by this run.

    Returns:
      What was restored, None where nothing was wrong.

    Raises:
      ConfigError: the metadata is lost and there is no copy, or another program has locked it, or
        it cannot be written.
    """
    file, copy = workdir.metadata, workdir.metadata_backup
    highest = max(_numbers_of_artifacts(workdir), default=0)
    try:
        why = _damage(file, "rw")
        if why is None:
            _number_executions_above(file, highest)
            return None
    except sqlite3.Error as error:
        if _code(error) == sqlite3.SQLITE_FULL:
            raise
        raise ConfigError(
            f"{file}: cannot be used ({error}); end what else has it open, see that it can be "
            "written, and run again"
        ) from None
    now = datetime.datetime.now()
    if not highest:
        # Nothing is lost with it: no step has put anything out.
        _move_aside(file, now)
        return None
    try:
        of_copy = _damage(copy, "ro")
    except sqlite3.Error as error:
        of_copy = str(error)
    if of_copy is not None:
        raise ConfigError(
            f"{file}: {why}, and its copy {copy.name} is {of_copy}: with it the results of "
            "finished steps, the history and the model that the gate compares with are lost; put "
            "a sound copy there, or give another --workdir, or begin anew by moving "
            f"{workdir.artifacts} away (what is served stays, and the next model is compared with "
            "none)"
        )
    copied = datetime.datetime.fromtimestamp(copy.stat().st_mtime)
    damaged = _move_aside(file, now)
    unfinished = file.with_suffix(".restoring")
    _remove(unfinished)
    shutil.copyfile(copy, unfinished)
    _number_executions_above(unfinished, highest)
    unfinished.replace(file)
    return Restored(why, copied, damaged)
