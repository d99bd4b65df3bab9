"""The history of a run's folder: every run, with its data, its figures and what became of it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import fcntl
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from components.baseline.rollback_record import Rollback
from components.slice_evaluator.evaluation import Evaluation, read_evaluation
from components.slice_evaluator.figure_names import (
    EXAMPLE_COUNT,
    LOWER,
    PATIENTS,
    SLICES,
    UPPER,
    name_of,
)
from components.slice_evaluator.figures import AUC, SENSITIVITY, SPECIFICITY
from components.slice_evaluator.gate import as_json
from pipeline.history.index import (
    EVALUATE,
    folder_of,
    number_of,
    output_folder,
    text_of,
    version_of,
    versions_of,
)
from pipeline.history.metadata_store import RunRecord, State, read_past_rollbacks, read_runs
from pipeline.history.pruned import PrunedRecord, read_pruned_record
from pipeline.history.versions import VersionsThere
from pipeline.run_folder import folder_lock
from pipeline.run_folder.workdir import Workdir
from transform.errors import ConfigError

FIGURES = (SENSITIVITY, SPECIFICITY, AUC)
"""The figures that a history has of every run."""

_INGEST, _TRAIN, _TRY, _LAST = "CTExampleGen", "Trainer", "ServingValidator", "ReportGen"
_PUSH = "AtomicPusher"
_FINGERPRINT_DIGITS = 64


class Verdict(enum.StrEnum):
    """How a run ended, or that it has not."""

    PUSHED = "pushed"
    NOT_BLESSED = "not_blessed"
    REFUSED_BY_SERVER = "refused_by_server"
    ROLLED_BACK_FROM = "rolled_back_from"
    FAILED = "failed"
    KILLED = "killed"
    RUNNING = "running"


@dataclasses.dataclass(frozen=True)
class DataRead:
    """What a run read.

    Attributes:
      path: the manifest, or the folder of spans.
      fingerprint: of the manifests and the files that they name.
      choice: which spans were asked for (`newest`, a number or `last:K`); None where the data is a
        manifest.
      span: the newest span that was read; None where there are none, or the run did not get so far.
    """

    path: str | None = None
    fingerprint: str | None = None
    choice: str | None = None
    span: int | None = None


@dataclasses.dataclass(frozen=True)
class ModelOfRun:
    """A model that another run trained.

    Attributes:
      run: that run's id; None where the metadata does not say.
      number: its number in the history, likewise.
      model: the folder of the model's artifact.
    """

    run: str | None
    number: int | None
    model: str


@dataclasses.dataclass(frozen=True)
class PastRun:
    """One run.

    Attributes:
      number: from 1, the oldest.
      run: its id: the local time of its beginning, ISO 8601.
      name: that of its configuration.
      started: its beginning, ISO 8601, UTC.
      seconds: from there to its end; None where it has none.
      data: what it read.
      verdict: how it ended.
      step: where it failed or was stopped, or where it is; None where it came to its end.
      cached: whether everything in it came from earlier runs.
      metrics: figures by name as in `summary.json`, with their intervals' ends, of slices and
        patients; None where one is undefined; empty where there is no record that can be read.
      failed_bounds: bounds of the gate that do not hold, as in `summary.json`.
      refused: why the trial with a real server refused the model, one line; None where it did not.
      evaluation: the evaluation's folder; None where the run did not get so far.
      model: the folder of the model's artifact, likewise.
      version: which the run pushed, as it was numbered then; None where it pushed none.
      versions: those that hold its model now.
      served: whether the newest version does, which is what a server takes up.
      started_from: what training began with, where it was no model: weights of the backbone.
      parent: the model that training began with.
      compared_with: the model that the gate compared this one with.
      gone: what of the run has been deleted since: `evaluation`, `model`, `version`.
    """

    number: int
    run: str
    name: str
    started: str
    seconds: float | None
    data: DataRead
    verdict: Verdict
    step: str | None
    cached: bool
    metrics: Mapping[str, float | None]
    failed_bounds: list[dict[str, Any]]
    refused: str | None
    evaluation: str | None
    model: str | None
    version: str | None
    versions: list[str]
    served: bool
    started_from: str | None
    parent: ModelOfRun | None
    compared_with: ModelOfRun | None
    gone: list[str]


@dataclasses.dataclass(frozen=True)
class History:
    """All runs of a folder.

    Attributes:
      workdir: the folder.
      runs: oldest first.
      serving: the newest version, which a server takes up; None where there is none.
      served: number of the run whose model it holds; None where no run here pushed it.
      rollbacks: those that came to their end, oldest first.
    """

    workdir: Path
    runs: list[PastRun]
    serving: str | None
    served: int | None
    rollbacks: list[Rollback]

    def last(self, count: int) -> History:
        """The same with the last runs only."""
        return dataclasses.replace(self, runs=self.runs[-count:])

    def as_json(self) -> list[dict[str, Any]]:
        """The runs as values of JSON."""
        return [dataclasses.asdict(one) for one in self.runs]


def read_history(folder: Path) -> History:
    """Read the history of a run's folder.

    Raises:
      ConfigError: no run has begun there, or its metadata cannot be read.
    """
    records = read_runs(folder)
    workdir = Workdir(folder.resolve())
    there = VersionsThere(workdir.serving)
    # A run that began in the moment of asking would be turned away: only where it matters.
    newest = records[-1].steps.get(_LAST)
    at_work = (newest is None or not newest.ended) and _is_at_work(workdir)
    trained = _who_trained(records)
    runs = [
        _PastRunReader(workdir, record, trained, there).read(
            number, at_work=at_work and number == len(records)
        )
        for number, record in enumerate(records, 1)
    ]
    served = next((run.number for run in runs if run.served), None)
    return History(folder, runs, there.newest, served, read_past_rollbacks(workdir))


def _is_at_work(workdir: Workdir) -> bool:
    """Whether a run holds the folder now (see `folder_lock.alone_in`)."""
    try:
        with (workdir.root / folder_lock.FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # No lock: nothing that this version started has run here.
        return False
    return False


def _who_trained(records: Iterable[RunRecord]) -> dict[int, tuple[int, str]]:
    """The number and id of the run that made each model, by the artifact's id."""
    trained: dict[int, tuple[int, str]] = {}
    for number, record in enumerate(records, 1):
        step = record.steps.get(_TRAIN)
        if step is not None and "model" in step.outputs:
            trained.setdefault(step.outputs["model"].id, (number, record.run))
    return trained


def _utc(milliseconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return moment.isoformat(timespec="seconds")


def main_metrics(evaluation: Evaluation) -> dict[str, float | None]:
    """The figures of `FIGURES` and what they are of, by their names in `summary.json`."""
    metrics = evaluation.gate.metrics
    wanted = [
        name_of(figure, unit) + end
        for unit in (PATIENTS, SLICES)
        for figure in FIGURES
        for end in ("", LOWER, UPPER)
    ]
    return {
        name: metrics[name] if math.isfinite(metrics[name]) else None
        for name in (PATIENTS, EXAMPLE_COUNT, *wanted)
        if name in metrics
    }


class _PastRunReader:
    """Reads one run."""

    def __init__(
        self,
        workdir: Workdir,
        record: RunRecord,
        trained: Mapping[int, tuple[int, str]],
        there: VersionsThere,
    ):
        self._workdir = workdir
        self._record = record
        self._trained = trained
        self._there = there

    def _input_model(self, step: str, key: str) -> ModelOfRun | None:
        found = self._record.steps.get(step)
        artifact = found.inputs.get(key) if found is not None else None
        if artifact is None:
            return None
        number, run = self._trained.get(artifact.id, (None, None))
        return ModelOfRun(run, number, str(folder_of(artifact, self._workdir)))

    def read(self, number: int, *, at_work: bool) -> PastRun:
        """Read the run.

        Args:
          number: in the history.
          at_work: whether a run is at work in the folder, and this is the newest.
        """
        record = self._record
        step = self._stopped_at()
        verdict = self._verdict(step, at_work=at_work)
        over = verdict not in (Verdict.KILLED, Verdict.RUNNING)
        evaluation = output_folder(record, EVALUATE, "evaluation", self._workdir)
        judged = self._judged(evaluation)
        # What pruning kept of an evaluation that is gone.
        kept = read_pruned_record(record.output(EVALUATE, "evaluation")) or PrunedRecord()
        model = record.output(_TRAIN, "model")
        model_folder = output_folder(record, _TRAIN, "model", self._workdir)
        parent = self._input_model(_TRAIN, "base_model")
        version = version_of(record)
        versions = versions_of(record, self._workdir, self._there)
        gone = {
            "evaluation": evaluation is not None and not evaluation.exists(),
            "model": model_folder is not None and not model_folder.exists(),
            "version": version is not None and not versions,
        }
        return PastRun(
            number=number,
            run=record.run,
            name=record.pipeline,
            started=_utc(record.began),
            seconds=(self._updated() - record.began) / 1000 if over else None,
            data=self._data(),
            verdict=verdict,
            step=step,
            cached=self._cached(),
            metrics=main_metrics(judged) if judged else kept.metrics,
            failed_bounds=_failed_bounds(judged) if judged else kept.failed_bounds,
            refused=self._refused(),
            evaluation=None if evaluation is None else str(evaluation),
            model=None if model_folder is None else str(model_folder),
            version=version,
            versions=versions,
            served=self._there.newest in versions,
            # `traceable_trainer.origin`, whose import would load TensorFlow, writes the property.
            started_from=text_of(model, "weights"),
            parent=parent,
            compared_with=self._input_model(EVALUATE, "baseline_model"),
            gone=[name for name, is_gone in gone.items() if is_gone],
        )

    def _updated(self) -> int:
        return max((one.updated for one in self._record.steps.values()), default=self._record.began)

    def _stopped_at(self) -> str | None:
        """The step that did not end, or the last one of a run that was stopped between steps."""
        steps = list(self._record.steps.values())
        for one in steps:
            if not one.ended:
                return one.name
        if _LAST in self._record.steps or not steps:
            return None
        return steps[-1].name

    def _verdict(self, step: str | None, *, at_work: bool) -> Verdict:
        if any(one.state == State.FAILED for one in self._record.steps.values()):
            return Verdict.FAILED
        if step is not None or not self._record.steps:
            return Verdict.RUNNING if at_work else Verdict.KILLED
        if version_of(self._record) is not None:
            return Verdict.PUSHED
        pushed = self._record.output(_PUSH, "pushed_model")
        # `atomic_pusher`, whose import would load TensorFlow, writes the property.
        if number_of(pushed, "rolled_back_from") == 1:
            return Verdict.ROLLED_BACK_FROM
        blessed = number_of(self._record.output(EVALUATE, "blessing"), "blessed") == 1
        return Verdict.REFUSED_BY_SERVER if blessed else Verdict.NOT_BLESSED

    def _cached(self) -> bool:
        steps = self._record.steps.values()
        return bool(steps) and all(one.state == State.CACHED for one in steps)

    def _data(self) -> DataRead:
        ingest = self._record.steps.get(_INGEST)
        if ingest is None:
            return DataRead()
        path = ingest.parameters.get("data")
        # The rest is of the key of the patient ids.
        fingerprint = ingest.parameters.get("input_fingerprint", "")[:_FINGERPRINT_DIGITS]
        span = number_of(ingest.outputs.get("examples"), "span")
        choice = None
        of_spans = span is not None or (path is not None and Path(path).is_dir())
        if of_spans:
            with contextlib.suppress(ValueError, AttributeError):
                choice = json.loads(ingest.parameters.get("settings", "")).get("span")
        return DataRead(path, fingerprint or None, choice, span)

    def _judged(self, evaluation: Path | None) -> Evaluation | None:
        """The evaluation's record; None where it is gone, or of another version of ctnet."""
        if evaluation is None:
            return None
        try:
            return read_evaluation(evaluation, groups=False)
        except (ConfigError, OSError):
            return None

    def _refused(self) -> str | None:
        folder = output_folder(self._record, _TRY, "blessing", self._workdir)
        trial = self._record.output(_TRY, "blessing")
        if folder is None or number_of(trial, "blessed") == 1:
            return None
        if (kept := read_pruned_record(trial)) is not None:
            return kept.refused
        # Only where there is something to read, because it loads TensorFlow.
        from components.serving_validator.outcome import read_outcome

        try:
            return read_outcome(folder).reason
        except (OSError, ValueError, TypeError):
            return None


def _failed_bounds(evaluation: Evaluation) -> list[dict[str, Any]]:
    failed = as_json([one for one in evaluation.bounds if not one.passed])
    return [
        {**one, "value": one["value"] if math.isfinite(one["value"]) else None} for one in failed
    ]
