"""The folder of runs that ended, for commands that change it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.history.metadata_store import read_runs
from pipeline.run_folder.metadata_backup import ensure_metadata
from pipeline.run_folder.workdir import Workdir


def past_workdir(folder: Path) -> Workdir:
    """A folder in which a run has begun, checked before a lock is left in it.

    Raises:
      ConfigError: no run has begun there, or the metadata cannot be read and there is no copy.
    """
    workdir = Workdir(folder.resolve())
    if not workdir.metadata_backup.is_file():
        read_runs(folder)
    return workdir


def restore_lost_metadata(workdir: Workdir, tell: Callable[[str], None]) -> None:
    """Have sound metadata, from its copy where it was lost or damaged.

    Args:
      workdir: locked.
      tell: called with a line where the copy was needed.

    Raises:
      ConfigError: the metadata cannot be used, and neither can its copy.
    """
    if restored := ensure_metadata(workdir):
        tell(str(restored))
    read_runs(workdir.root)
