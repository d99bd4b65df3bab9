"""Which evaluation a person means who names a model to compare."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from components.slice_evaluator.evaluation import FILE
from components.slice_evaluator.predictions import PREFIX
from pipeline.history.index import IndexedRun, RunIndex, read_run_index, short_ids
from pipeline.run_folder.workdir import Workdir
from transform.errors import ConfigError

WAYS = "a run's folder, WORKDIR@RUN, a pushed version's folder, or an evaluation's folder"
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class ChosenModel:
    """A model that was evaluated.

    Attributes:
      said: as it was named.
      evaluation: the folder of its evaluation.
      run: the id of the run that this is of; None where an evaluation's folder was given.
      version: which that run pushed; None where it pushed none, or is not known.
    """

    said: str
    evaluation: str
    run: str | None = None
    version: str | None = None


def choose(said: str, index_of: Callable[[Path], RunIndex] = read_run_index) -> ChosenModel:
    """Find the evaluation that is meant.

    Args:
      said: one of `WAYS`; of a run's folder the latest run that was evaluated.
      index_of: reads which runs a folder has.

    Raises:
      ConfigError: there is none, or several are meant.
    """
    # A link to a version (such as `latest`) stands for it.
    path = Path(said).resolve()
    if (path / FILE).is_file() or any(path.glob(f"{PREFIX}-*.jsonl")):
        return ChosenModel(said, str(path))
    if Workdir(path).metadata.is_file():
        return _of_run(said, _latest(said, index_of(Path(said))))
    workdir = _workdir_of_version(path)
    if workdir is not None:
        return _of_run(said, _that_pushed(said, path.name, index_of(workdir)))
    folder, at, run = said.rpartition("@")
    if at and not path.exists():
        return _of_run(said, _named(run, index_of(Path(folder or os.curdir))))
    found = "holds neither an evaluation nor runs" if path.exists() else "no such folder"
    raise ConfigError(f"{said}: {found}; give {WAYS}")


def _workdir_of_version(path: Path) -> Path | None:
    """The run's folder whose serving folder a version is, or was, in."""
    root = path.parents[2] if path.name.isdecimal() and len(path.parents) > 2 else None
    if root is None or Workdir(root).serving != path.parent or not Workdir(root).metadata.is_file():
        return None
    return root


def _of_run(said: str, run: IndexedRun) -> ChosenModel:
    if run.evaluation is None:
        raise ConfigError(
            f"{said}: run {run.run} did not get as far as its evaluation; give another run"
        )
    if not run.evaluation.exists():
        raise ConfigError(
            f"{said}: the evaluation of run {run.run} was deleted ({run.evaluation}); start the "
            "run again, or give another one"
        )
    return ChosenModel(said, str(run.evaluation), run.run, run.version)


def _latest(said: str, index: RunIndex) -> IndexedRun:
    evaluated = [run for run in index.runs if run.evaluation is not None]
    if not evaluated:
        raise ConfigError(f"{said}: no run got as far as its evaluation here; ctnet history says")
    return evaluated[-1]


def _that_pushed(said: str, version: str, index: RunIndex) -> IndexedRun:
    pushed = [run for run in index.runs if version in (run.version, *run.versions)]
    if not pushed:
        raise ConfigError(
            f"{said}: no run of {index.workdir} pushed this version; give the folder of its "
            "evaluation"
        )
    return pushed[-1]


def _named(name: str, index: RunIndex) -> IndexedRun:
    """A run by its number, or by the beginning of its id."""
    by_number = {str(run.number): run for run in index.runs}
    if name in by_number:
        return by_number[name]
    found = [run for run in index.runs if name and run.run.startswith(name)]
    if len(found) == 1:
        return found[0]
    short = short_ids([run.run for run in index.runs])
    shown = ", ".join(short[run.run] for run in (found or index.runs)[-_SHOWN:])
    if found:
        raise ConfigError(
            f"{index.workdir}: {len(found)} runs begin with {name} ({shown}); give more of it"
        )
    raise ConfigError(
        f"{index.workdir}: no run {name or 'is named after the @'}; there are {shown} (ctnet "
        "history lists all)"
    )
