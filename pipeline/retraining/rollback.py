"""Serve an earlier version again, and have later runs know it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from ml_metadata.proto.metadata_store_pb2 import Artifact, Execution
from tfx.components.evaluator import constants

from components.atomic_pusher.executor import ROLLED_BACK_FROM, next_version, publish
from components.baseline.rollback_record import (
    BLESSING,
    EXECUTION_TYPE,
    Rollback,
    as_execution,
    read_rollbacks,
    rolled_back_from,
)
from pipeline.history.index import folder_of, output_folder, version_of
from pipeline.history.metadata_store import RunRecord, read_runs
from pipeline.history.versions import VersionsThere
from pipeline.run_folder.folder_lock import alone_in
from pipeline.run_folder.metadata_backup import back_up_metadata
from pipeline.run_folder.outputs import StepOutputs, open_store
from pipeline.run_folder.past_workdir import past_workdir, restore_lost_metadata
from pipeline.run_folder.workdir import Workdir
from transform.errors import ConfigError

WORK = "ctnet rollback"
_TRAIN, _PUSH = "Trainer", "AtomicPusher"
# Where TFX has a Trainer put the SavedModel in its model.
_EXPORT = "Format-Serving"
_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class PushedModel:
    """A model that was pushed.

    Attributes:
      model: id of its artifact.
      run: number, from 1, of the run that trained and pushed it.
      archive: the SavedModel that the Pusher kept; the Trainer's own where it was killed.
      versions: all numbers that it has had, oldest first.
    """

    model: int
    run: int
    archive: Path
    versions: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ServedVersion:
    """A version, for a person.

    Attributes:
      version: its number.
      run: number of the run whose model it holds; None where no run here pushed it.
      first: the number that its model was pushed under first, likewise.
    """

    version: str
    run: int | None
    first: str | None


@dataclasses.dataclass(frozen=True)
class RollbackResult:
    """What a rollback came to.

    Attributes:
      served: now.
      was: served before; None where that is served already which was asked for.
    """

    served: ServedVersion
    was: ServedVersion | None


def pushed_models(
    workdir: Workdir, runs: list[RunRecord], there: VersionsThere, rollbacks: list[Rollback]
) -> list[PushedModel]:
    """The models that runs of a folder pushed, in the order in which they were served first.

    A push that was killed may have published its version before the metadata knew of it: such a
    model is known by its export.

    Args:
      workdir: the folder.
      runs: oldest first.
      there: the versions in its serving folder.
      rollbacks: each gave a model another number.
    """
    found: dict[int, PushedModel] = {}
    for number, record in enumerate(runs, 1):
        version = version_of(record)
        model = record.output(_TRAIN, "model")
        archive = output_folder(record, _PUSH, "pushed_model", workdir)
        if version is None or model is None or archive is None:
            continue
        numbers = {int(version), *map(int, there.that_hold(archive, version))}
        numbers |= {
            int(one.version)
            for one in rollbacks
            if one.model == model.id and one.state == Execution.COMPLETE
        }
        before = found.get(model.id)
        if before is not None:
            numbers |= set(before.versions)
            number = before.run
            # Pushed again after its first archive was removed.
            archive = before.archive if before.archive.is_dir() else archive
        found[model.id] = PushedModel(model.id, number, archive, tuple(sorted(numbers)))
    for number, record in enumerate(runs, 1):
        model = record.output(_TRAIN, "model")
        if model is None or model.id in found:
            continue
        export = folder_of(model, workdir) / _EXPORT
        if held := there.that_hold(export):
            found[model.id] = PushedModel(model.id, number, export, tuple(sorted(map(int, held))))
    return sorted(found.values(), key=lambda one: one.versions)


def settle_rollbacks(workdir: Workdir, store: MetadataStore) -> Rollback | None:
    """End what killed rollbacks left: remembered where its version is there, else given up.

    Returns:
      The newest of them as it is now; None where there was none.
    """
    settled = None
    for rollback in read_rollbacks(store):
        if rollback.state != Execution.RUNNING:
            continue
        if (workdir.serving / rollback.version).is_dir():
            settled = _remember(store, rollback)
        else:
            settled = _give_up(store, rollback)
    return settled


def models_rolled_back_from(workdir: Workdir) -> list[int]:
    """The models that rollbacks took out of serving, by their artifacts' ids.

    Rollbacks that were killed are brought in line with what is served first.
    """
    if not workdir.metadata.exists():
        return []
    store = open_store(workdir)
    settle_rollbacks(workdir, store)
    return sorted(rolled_back_from(store))


def say_rolled_back_from(outputs: StepOutputs, workdir: Workdir) -> str | None:
    """Why the run's model was not pushed, where a rollback took it out of serving."""
    pushed = outputs.artifact("AtomicPusher", "pushed_model")
    if pushed.custom_properties[ROLLED_BACK_FROM].int_value != 1:
        return None
    model = outputs.artifact("Trainer", "model")
    rollback = rolled_back_from(outputs.store)[model.id]
    when = datetime.datetime.fromtimestamp(rollback.when / 1000).date()
    return (
        f"its model is that of version {rollback.from_version}, which was rolled back from on "
        f"{when}; ctnet rollback {workdir.root} {rollback.from_version} serves it again"
    )


def roll_back(
    folder: Path,
    version: int | None = None,
    *,
    wait: float = 0.0,
    tell: Callable[[str], None] = lambda line: None,
) -> RollbackResult:
    """Serve an earlier model again, as the newest version, and record it in ML Metadata.

    It is recorded as begun, published whole under a new number, and recorded as done, in this
    order: whatever is killed in between, no part of a version is visible, and the next rollback or
    run brings the record in line with what is served.

    Args:
      folder: of runs.
      version: a number that the model to serve has had; None is the one that was served last of
        those that are older than the one that is served now, and were not rolled back from.
      wait: seconds, for a run that is at work in the folder.
      tell: called with a line where it waits, or restores the metadata.

    Raises:
      ConfigError: there is no such version, nothing to go back to, or its archive was pruned; or
        the metadata is lost.
    """
    workdir = past_workdir(folder)
    with alone_in(workdir, work=WORK, wait=wait, tell=tell):
        restore_lost_metadata(workdir, tell)
        store = open_store(workdir)
        settled = settle_rollbacks(workdir, store)
        result = _roll_back(folder, workdir, store, version, settled)
        # A copy without it would forget the rollback.
        back_up_metadata(workdir)
        return result


def _roll_back(
    folder: Path,
    workdir: Workdir,
    store: MetadataStore,
    version: int | None,
    settled: Rollback | None,
) -> RollbackResult:
    there = VersionsThere(workdir.serving)
    models = pushed_models(workdir, read_runs(folder), there, read_rollbacks(store))
    if there.newest is None:
        raise ConfigError(f"{folder}: nothing is served from here, so nothing can be rolled back")
    served = next((one for one in models if int(there.newest) in one.versions), None)
    if version is None and settled is not None:
        # The one that was killed is meant, which may have got as far as that.
        by_model = {one.model: one for one in models}
        if settled.version == there.newest:
            was = _described(settled.from_version, by_model.get(settled.from_model or 0))
            return RollbackResult(_described(there.newest, served), was)
        if settled.from_version == there.newest and settled.model in by_model:
            version = by_model[settled.model].versions[-1]
    target = (
        _served_before(folder, models, served, there.newest, store)
        if version is None
        else _named(folder, models, version)
    )
    was = _described(there.newest, served)
    if target is served:
        return RollbackResult(was, None)
    if not target.archive.is_dir():
        raise ConfigError(
            f"{folder}: the archive of version {target.versions[-1]} was removed "
            f"({target.archive}), so that it cannot be served again; "
            f"{_say_choice(_restorable(models))}"
        )
    new = _serve_again(workdir, store, target, served, there.newest)
    return RollbackResult(_described(new, target), was)


def _described(version: str, model: PushedModel | None) -> ServedVersion:
    if model is None:
        return ServedVersion(version, None, None)
    return ServedVersion(version, model.run, str(model.versions[0]))


def _restorable(models: list[PushedModel]) -> list[PushedModel]:
    return [one for one in models if one.archive.is_dir()]


def _say_choice(models: list[PushedModel]) -> str:
    numbers = [str(one.versions[-1]) for one in models][-_SHOWN:]
    return f"there are {', '.join(numbers)}" if numbers else "there is no other"


def _served_before(
    folder: Path,
    models: list[PushedModel],
    served: PushedModel | None,
    newest: str,
    store: MetadataStore,
) -> PushedModel:
    out = rolled_back_from(store)
    earlier = [
        one
        for one in _restorable(models)
        if one.model not in out and (served is None or one.versions[0] < served.versions[0])
    ]
    if not earlier:
        raise ConfigError(
            f"{folder}: nothing to go back to from version {newest}: no older model that was not "
            f"rolled back from; to serve another, give its VERSION; "
            f"{_say_choice([one for one in _restorable(models) if one is not served])}"
        )
    return max(earlier, key=lambda one: one.versions[-1])


def _named(folder: Path, models: list[PushedModel], version: int) -> PushedModel:
    for one in models:
        if version in one.versions:
            return one
    raise ConfigError(
        f"{folder}: no run pushed a version {version} here; {_say_choice(_restorable(models))}"
    )


def _serve_again(
    workdir: Workdir,
    store: MetadataStore,
    target: PushedModel,
    served: PushedModel | None,
    newest: str,
) -> str:
    _blessing_of(store, target.model)  # Fails before anything is done, if it does.
    version = next_version(str(workdir.serving))
    rollback = Rollback(target.model, version, served.model if served else None, newest)
    type_id = store.put_execution_type(metadata_store_pb2.ExecutionType(name=EXECUTION_TYPE))
    execution, _, _ = store.put_execution(
        as_execution(rollback, type_id), [], _pipelines_of(store, target.model)
    )
    publish(str(target.archive), str(workdir.serving), version)
    _remember(store, dataclasses.replace(rollback, execution=execution))
    return version


def _pipelines_of(store: MetadataStore, model: int) -> list[metadata_store_pb2.Context]:
    """The pipeline that made a model: those of one name find each other's models."""
    return [one for one in store.get_contexts_by_artifact(model) if one.type == "pipeline"]


def _type_id(store: MetadataStore) -> int:
    return int(store.get_execution_type(EXECUTION_TYPE).id)


def _remember(store: MetadataStore, rollback: Rollback) -> Rollback:
    """Record that a rollback is done, with a blessing of its model, all or nothing."""
    done = dataclasses.replace(rollback, state=Execution.COMPLETE)
    blessing = _blessing_of(store, rollback.model)
    event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
    event.path.steps.add().key = BLESSING
    event.path.steps.add().index = 0
    store.put_execution(
        as_execution(done, _type_id(store)),
        [(blessing, event)],
        _pipelines_of(store, rollback.model),
    )
    return done


def _give_up(store: MetadataStore, rollback: Rollback) -> Rollback:
    failed = dataclasses.replace(rollback, state=Execution.FAILED)
    store.put_executions([as_execution(failed, _type_id(store))])
    return failed


def _blessing_of(store: MetadataStore, model: int) -> Artifact:
    """A new blessing that says of a model what the gate's own said."""
    key = constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY
    blessed = constants.ARTIFACT_PROPERTY_BLESSED_KEY
    own = [
        one
        for one in store.get_artifacts_by_type("ModelBlessing")
        if one.custom_properties[key].int_value == model
        and one.custom_properties[blessed].int_value == constants.BLESSED_VALUE
    ]
    if not own:
        raise ConfigError(
            "the metadata has no blessing of this version's model, so that nothing could be "
            "compared with it later; give another version"
        )
    newest = max(own, key=lambda one: one.id)
    blessing = Artifact(type_id=newest.type_id, uri=newest.uri, state=Artifact.LIVE)
    for name in (key, constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, blessed):
        blessing.custom_properties[name].CopyFrom(newest.custom_properties[name])
    return blessing
