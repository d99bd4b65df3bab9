"""Remove what a policy no longer asks to keep: old versions, and what old runs left.

Only folders that ctnet made are removed, by the names that the metadata gives them, and none that
is reached through a symbolic link. An artifact is marked as deleted in ML Metadata before its
folder goes, so that TFX's cache and resolvers never hand out one that is half gone; pruning again
removes what a killed pruning left.
"""

from __future__ import annotations

import dataclasses
import datetime
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from ml_metadata.proto.metadata_store_pb2 import Artifact, Execution

from components.baseline.pushed_models import models_ever_pushed
from components.baseline.rollback_record import read_rollbacks, rolled_back_from
from components.baseline.rolled_back_statistics import rolled_back_statistics
from pipeline.history.index import EVALUATE, number_of, versions_of
from pipeline.history.metadata_store import RunRecord, read_runs
from pipeline.history.pruned import PrunedRecord
from pipeline.history.run_history import read_history
from pipeline.history.versions import VersionsThere
from pipeline.run_folder.folder_lock import alone_in
from pipeline.run_folder.metadata_backup import back_up_metadata
from pipeline.run_folder.past_workdir import past_workdir, restore_lost_metadata
from pipeline.run_folder.workdir import Workdir

WORK = "ctnet prune"

_LAST, _TRAIN, _VALIDATE, _TRY = "ReportGen", "Trainer", "SliceValidator", "ServingValidator"
_BULK = "Examples"
_STATISTICS_ID = "statistics_id"
_SYSTEM = (".system", "executor_execution")
# As atomic_pusher calls what no server takes for a version; the next push removes it, too.
_UNFINISHED = ".unfinished-"
_LOG_STAMP = "%Y%m%d-%H%M%S"


@dataclasses.dataclass(frozen=True)
class Policy:
    """What is kept.

    Attributes:
      versions: of the serving folder, so many of the newest.
      runs: so many of the last that came to their end, and all that began after the first of them.
      pinned: numbers of versions that stay however old, if they are there.
    """

    versions: int
    runs: int
    pinned: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True)
class Removed:
    """Something that is removed.

    Attributes:
      kind: `version`, `artifact`, `checkpoint` or `log`.
      path: where it was.
      bytes: its size.
    """

    kind: str
    path: str
    bytes: int


@dataclasses.dataclass
class Pruned:
    """What a pruning did, or would do.

    Attributes:
      dry_run: whether it only looked.
      removed: what went, in the order in which it did.
      kept_versions: numbers, oldest first; the last is the one that is served.
      kept_runs: ids of the runs of which everything is kept, oldest first.
      skipped: what would have gone but is, or lies behind, a symbolic link.
    """

    dry_run: bool
    removed: list[Removed] = dataclasses.field(default_factory=list)
    kept_versions: list[str] = dataclasses.field(default_factory=list)
    kept_runs: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)

    def counts(self) -> dict[str, Any]:
        """How many of each kind went, and their bytes."""
        kinds = ("version", "artifact", "checkpoint", "log")
        by_kind = {f"{kind}s": sum(one.kind == kind for one in self.removed) for kind in kinds}
        return {**by_kind, "bytes": sum(one.bytes for one in self.removed)}


def prune(
    folder: Path,
    policy: Policy,
    *,
    dry_run: bool = False,
    wait: float = 0.0,
    tell: Callable[[str], None] = lambda line: None,
) -> Pruned:
    """Prune a folder that nobody is at work in.

    Raises:
      ConfigError: no run has begun there, somebody is at work there, or the metadata is lost.
    """
    workdir = past_workdir(folder)
    with alone_in(workdir, work=WORK, wait=wait, tell=tell):
        restore_lost_metadata(workdir, tell)
        return prune_alone(workdir, policy, dry_run=dry_run)


def prune_alone(workdir: Workdir, policy: Policy, *, dry_run: bool = False) -> Pruned:
    """Prune a folder that is locked already.

    Args:
      workdir: the folder.
      policy: what stays.
      dry_run: only look.

    Raises:
      ConfigError: no run has begun there.
      OSError: something cannot be removed; the rest waits for the next time.
      OSError, sqlite3.Error: the metadata cannot be copied; no artifact's folder was removed.
    """
    # The store that may be written; the readers of the history open their own, read-only.
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(workdir.metadata)
    pruner = _Pruner(workdir, MetadataStore(connection), policy, Pruned(dry_run))
    return pruner.prune()


class _Pruner:
    """One pruning."""

    def __init__(self, workdir: Workdir, store: MetadataStore, policy: Policy, pruned: Pruned):
        self._workdir = workdir
        self._store = store
        self._policy = policy
        self._pruned = pruned
        self._runs = read_runs(workdir.root)
        self._there = VersionsThere(workdir.serving)
        self._artifacts = {one.id: one for one in store.get_artifacts()}
        self._types = {one.id: one.name for one in store.get_artifact_types()}

    def prune(self) -> Pruned:
        keep_runs = self._kept_runs()
        newest = self._there.names[-self._policy.versions :]
        keep_versions = [
            one for one in self._there.names if one in newest or int(one) in self._policy.pinned
        ]
        self._pruned.kept_versions = keep_versions
        self._pruned.kept_runs = [one.run for one in keep_runs]
        old_versions = [name for name in self._there.names if name not in keep_versions]
        ours = self._our_versions()
        kept = self._kept_artifacts(keep_runs, keep_versions)
        self._remove_versions(name for name in old_versions if name in ours)
        self._remove_artifacts(keep_runs, kept)
        self._remove_checkpoints(keep_runs)
        self._remove_logs(keep_runs)
        return self._pruned

    def _kept_runs(self) -> list[RunRecord]:
        """The last runs that came to their end, and all that began after the first of them."""
        ended = [
            number
            for number, record in enumerate(self._runs)
            if _LAST in record.steps and record.steps[_LAST].ended
        ]
        # Where none ended, none is old.
        first = ended[-self._policy.runs :][0] if ended else 0
        return self._runs[first:]

    def _our_versions(self) -> set[str]:
        """The versions that runs pushed and rollbacks published, or that hold what they did."""
        ours = {one.version for one in read_rollbacks(self._store)}
        for record in self._runs:
            ours |= set(versions_of(record, self._workdir, self._there))
        return ours

    def _kept_artifacts(self, runs: list[RunRecord], versions: list[str]) -> set[int]:
        """Ids of the artifacts that stay."""
        kept: set[int] = set()
        executions = self._executions_of(runs)
        events = self._store.get_events_by_execution_ids(executions) if executions else []
        kept |= {event.artifact_id for event in events}
        models = {
            model
            for record in self._runs
            if not set(versions).isdisjoint(versions_of(record, self._workdir, self._there))
            if (model := self._id(record.output(_TRAIN, "model"))) is not None
        }
        models |= self._last_blessed()
        # All that the runs of these models left but the slices, which are the bulk, and which the
        # data has: for a rollback, and so that they can be looked into and compared.
        for record in self._runs:
            if self._id(record.output(_TRAIN, "model")) in models:
                kept |= {
                    artifact.id
                    for step in record.steps.values()
                    for artifact in step.outputs.values()
                    if self._types[artifact.type_id] != _BULK
                }
        models |= {number for number in kept if self._is(number, "Model")}
        kept |= {
            one.id
            for one in self._artifacts.values()
            if self._types[one.type_id] == "ModelBlessing"
            and number_of(one, "current_model_id") in models
        }
        return kept | models | self._last_accepted()

    @staticmethod
    def _id(artifact: Artifact | None) -> int | None:
        return None if artifact is None else int(artifact.id)

    def _is(self, number: int, kind: str) -> bool:
        return number in self._artifacts and self._types[self._artifacts[number].type_id] == kind

    def _executions_of(self, runs: list[RunRecord]) -> list[int]:
        ids = {one.run for one in runs}
        return [
            execution.id
            for context in self._store.get_contexts_by_type("pipeline_run")
            if context.name in ids
            for execution in self._store.get_executions_by_context(context.id)
        ]

    def _last_blessed(self) -> set[int]:
        """The models that the next run of each pipeline begins with and is compared with."""
        served = models_ever_pushed(self._store) - set(rolled_back_from(self._store))
        found: dict[str, int] = {}
        blessings = [
            one
            for one in self._artifacts.values()
            if self._types[one.type_id] == "ModelBlessing"
            and one.state == Artifact.LIVE
            and number_of(one, "blessed") == 1
        ]
        for blessing in sorted(blessings, key=lambda one: one.id):
            model = number_of(blessing, "current_model_id")
            if model not in served or not self._is(model, "Model"):
                continue
            for context in self._store.get_contexts_by_artifact(model):
                if context.type == "pipeline":
                    found[context.name] = model
        return set(found.values())

    def _last_accepted(self) -> set[int]:
        """The statistics that passed last, in each pipeline, with the anomalies that say so.

        Back to those that the next run is compared with: statistics of a model that was rolled back
        from are passed over then, until the rollback is undone.
        """
        out = rolled_back_statistics(self._store)
        kept: set[int] = set()
        pipelines: set[str] = set()
        for record in reversed(self._runs):
            validated = record.steps.get(_VALIDATE)
            if validated is None or not validated.ended or record.pipeline in pipelines:
                continue
            anomalies = validated.outputs.get("anomalies")
            statistics = number_of(anomalies, _STATISTICS_ID)
            if anomalies is not None and statistics is not None:
                if statistics not in out:
                    pipelines.add(record.pipeline)
                kept |= {anomalies.id, statistics}
        return kept

    def _is_reached_plainly(self, path: Path) -> bool:
        """Whether a path in the run's folder leads there without a symbolic link."""
        if path.resolve() == path:
            return True
        self._pruned.skipped.append(str(path))
        return False

    def _remove(self, kind: str, path: Path) -> None:
        """Remove a file or folder that is reached plainly; a dry run only counts it."""
        self._pruned.removed.append(Removed(kind, str(path), _size(path)))
        if self._pruned.dry_run:
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def _remove_versions(self, versions: Iterable[str]) -> None:
        serving = self._workdir.serving
        for version in versions:
            folder = serving / version
            if not self._is_reached_plainly(folder):
                continue
            size = _size(folder)
            self._pruned.removed.append(Removed("version", str(folder), size))
            if not self._pruned.dry_run:
                # A server must never see a part of it.
                unfinished = serving / f"{_UNFINISHED}{version}"
                folder.rename(unfinished)
                shutil.rmtree(unfinished)

    def _remove_artifacts(self, runs: list[RunRecord], kept: set[int]) -> None:
        """Those of old executions, with the folders that failed and killed ones left."""
        staying = {_place(one.uri) for one in self._artifacts.values() if one.id in kept}
        executions = set(self._executions_of(runs))
        going = [
            (execution, step) for execution, step in self._steps() if execution not in executions
        ]
        folders = [
            folder
            for execution, step in going
            for folder in self._folders(step, execution)
            if _place(str(folder)) not in staying and self._is_reached_plainly(folder)
        ]
        gone = {_place(str(folder)) for folder in folders}
        dying = [
            one
            for one in self._artifacts.values()
            if one.id not in kept and one.state == Artifact.LIVE and self._may_go(one, gone)
        ]
        if not self._pruned.dry_run and dying:
            self._keep_figures(dying)
            for one in dying:
                one.state = Artifact.DELETED
            self._store.put_artifacts(dying)
        if not self._pruned.dry_run and (dying or folders):
            # A copy of before would have the cache hand out what is gone, were it restored.
            back_up_metadata(self._workdir)
        for folder in folders:
            self._remove("artifact", folder)

    def _may_go(self, artifact: Artifact, gone: set[tuple[str, ...]]) -> bool:
        """Whether its folder goes, or has gone before."""
        place = _place(artifact.uri)
        return place in gone or not self._workdir.artifacts.joinpath(*place).exists()

    def _steps(self) -> Iterator[tuple[int, str]]:
        """All executions of runs, with the step that each is of."""
        of_runs = {
            execution.id
            for context in self._store.get_contexts_by_type("pipeline_run")
            for execution in self._store.get_executions_by_context(context.id)
            if execution.last_known_state != Execution.RUNNING
        }
        for context in self._store.get_contexts_by_type("node"):
            # A step's context is called PIPELINE.STEP.
            step = context.name.rpartition(".")[2]
            for execution in self._store.get_executions_by_context(context.id):
                if execution.id in of_runs:
                    yield execution.id, step

    def _folders(self, step: str, execution: int) -> Iterator[Path]:
        """What an execution made below the artifacts: STEP/KEY/EXECUTION."""
        root = self._workdir.artifacts / step
        keys = sorted(root.iterdir()) if root.is_dir() else []
        for key in (
            *(one for one in keys if not one.name.startswith(".")),
            root.joinpath(*_SYSTEM),
        ):
            folder = key / str(execution)
            if folder.is_dir():
                yield folder

    def _keep_figures(self, dying: list[Artifact]) -> None:
        """Note what the history tells of evaluations that go with the evaluations' metadata."""
        ids = {one.id: one for one in dying}
        history = read_history(self._workdir.root)
        for record, run in zip(self._runs, history.runs, strict=True):
            evaluation = record.output(EVALUATE, "evaluation")
            if evaluation is not None and evaluation.id in ids and run.metrics:
                PrunedRecord(dict(run.metrics), run.failed_bounds).write(ids[evaluation.id])
            trial = record.output(_TRY, "blessing")
            if trial is not None and trial.id in ids and run.refused:
                PrunedRecord(refused=run.refused).write(ids[trial.id])

    def _remove_checkpoints(self, runs: list[RunRecord]) -> None:
        """Those of trainings that were killed before the kept runs began."""
        folder = self._workdir.artifacts / _TRAIN / ".checkpoints"
        if not folder.is_dir() or not runs:
            return
        for one in sorted(folder.iterdir()):
            newest = max((file.lstat().st_mtime for file in one.rglob("*")), default=0.0)
            old = max(newest, one.lstat().st_mtime) * 1000 < runs[0].began
            if old and self._is_reached_plainly(one):
                self._remove("checkpoint", one)

    def _remove_logs(self, runs: list[RunRecord]) -> None:
        """Those of runs before the kept ones; a run's log is begun before the run is."""
        if not runs:
            return
        began = datetime.datetime.fromisoformat(runs[0].run)
        before = [
            log
            for log in sorted(self._workdir.logs.glob("run-*.log"))
            if (begun := _begun(log)) is not None and begun <= began
        ]
        for log in before[:-1]:
            if self._is_reached_plainly(log):
                self._remove("log", log)


def _begun(log: Path) -> datetime.datetime | None:
    """When a run's log was begun, by its name."""
    try:
        return datetime.datetime.strptime(log.stem.removeprefix("run-"), _LOG_STAMP)
    except ValueError:
        return None


def _place(uri: str) -> tuple[str, ...]:
    """STEP/KEY/EXECUTION, also after the run's folder was moved or copied."""
    return Path(uri).parts[-3:]


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(one.lstat().st_size for one in files if not one.is_dir())
