"""How long the steps of a run took: written by its runner, read for the report.

TFX tells an executor nothing of other steps, so that the runner leaves a file a run in one folder.
The folder is a parameter of the report's step and the same for every run; what is in it is not, and
changes no key of the cache.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

FOLDER = ".step_times"
"""Below the root of the artifacts."""

_KEPT = 10


@dataclasses.dataclass(frozen=True)
class StepTime:
    """One step.

    Attributes:
      name: the component's id.
      seconds: wall time.
      cached: whether its result came from an earlier run.
    """

    name: str
    seconds: float
    cached: bool


def _file(folder: Path, run_id: str) -> Path:
    return folder / f"{run_id.replace('/', '-')}.json"


def write_step_times(folder: Path, run_id: str, steps: Sequence[StepTime]) -> None:
    """Write what is known so far, whole or not at all, and remove what old runs left.

    Args:
      folder: made where it is missing.
      run_id: of TFX.
      steps: in the order in which they ran.

    Raises:
      OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = _file(folder, run_id)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.write_text(json.dumps([dataclasses.asdict(step) for step in steps]))
    unfinished.replace(file)
    _remove_old(folder, file)


def _remove_old(folder: Path, newest: Path) -> None:
    """Keep the files of a few runs: a report is rebuilt of the latest ones only."""
    others = [one for one in folder.glob("*.json") if one != newest]
    # Ids of runs begin with the time.
    others.sort(key=lambda one: one.name, reverse=True)
    left_over = [one for one in folder.glob(".*.json.*") if one.is_file()]
    for old in [*others[_KEPT - 1 :], *left_over]:
        old.unlink(missing_ok=True)


def read_step_times(folder: Path, run_id: str) -> list[StepTime]:
    """What a run's runner left; nothing where it left nothing, or what this version cannot read."""
    try:
        return [StepTime(**one) for one in json.loads(_file(folder, run_id).read_text())]
    except (OSError, ValueError, TypeError):
        return []
