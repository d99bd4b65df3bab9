"""What ML Metadata says of the runs of a folder: their steps, and what went into and out of each.

The store is opened read-only, and nothing here needs TFX or TensorFlow, which take seconds to load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from ml_metadata import MetadataStore, errors
from ml_metadata.proto import metadata_store_pb2

from components.baseline.rollback_record import Rollback, read_rollbacks
from pipeline.run_folder.workdir import Workdir
from transform.errors import ConfigError

State = metadata_store_pb2.Execution.State
"""The states of an execution."""

_INPUTS = (metadata_store_pb2.Event.INPUT, metadata_store_pb2.Event.DECLARED_INPUT)
_OUTPUTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
# Types of contexts, as TFX names them.
_RUN, _STEP = "pipeline_run", "node"
# It only looks something up, and is never cached.
_RESOLVER = "Resolver"


@dataclasses.dataclass(frozen=True)
class StepRecord:
    """One step of one run.

    Attributes:
      name: the component's id.
      state: of its execution, one of `State`.
      parameters: of its execution, those that are text.
      inputs: the last artifact under each key; of a cached step, too.
      outputs: likewise; empty where the step did not come to its end.
      updated: when its state changed last, milliseconds since 1970.
    """

    name: str
    state: int
    parameters: Mapping[str, str]
    inputs: Mapping[str, metadata_store_pb2.Artifact]
    outputs: Mapping[str, metadata_store_pb2.Artifact]
    updated: int

    @property
    def ended(self) -> bool:
        """Whether it came to its end, now or in an earlier run."""
        return self.state in (State.COMPLETE, State.CACHED)


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
      run: its id, the local time of its beginning.
      pipeline: the name in its configuration.
      began: milliseconds since 1970.
      steps: by name, in the order in which they began; without those that only look something up.
    """

    run: str
    pipeline: str
    began: int
    steps: Mapping[str, StepRecord]

    def output(self, step: str, key: str) -> metadata_store_pb2.Artifact | None:
        """What a step put out; None where it did not come to its end, or was not reached."""
        found = self.steps.get(step)
        return None if found is None else found.outputs.get(key)


def read_runs(folder: Path) -> list[RunRecord]:
    """The runs of a folder, oldest first.

    Args:
      folder: a run's folder, as it was given.

    Raises:
      ConfigError: there is none, no run has begun there, or its metadata cannot be read.
    """
    workdir = Workdir(folder.resolve())
    file = workdir.metadata
    otherwise = "give the folder of ctnet run"
    if workdir.metadata_backup.is_file():
        otherwise = (
            f"its copy {workdir.metadata_backup.name} is there, and the next ctnet run, retrain, "
            "rollback or prune restores it"
        )
        if not file.is_file():
            raise ConfigError(f"{file}: lost; {otherwise}")
    if not file.is_file():
        raise ConfigError(f"{folder}: no run has begun here (there is no {file.name}); {otherwise}")
    try:
        runs = _runs_of(_open(file))
    # A file that is no such store is a RuntimeError.
    except (RuntimeError, errors.StatusError) as error:
        line = " ".join(f"{error}".split())[:100]
        raise ConfigError(
            f"{folder / file.name}: cannot be read as ML Metadata ({line}); {otherwise}"
        ) from None
    if not runs:
        raise ConfigError(f"{folder}: no run has begun here; start one with ctnet run")
    return runs


def _open(file: Path) -> MetadataStore:
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(file)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    return MetadataStore(connection)


def read_past_rollbacks(workdir: Workdir) -> list[Rollback]:
    """The rollbacks of a folder that came to their end, oldest first."""
    found = read_rollbacks(_open(workdir.metadata))
    return [one for one in found if one.state == State.COMPLETE]


def _artifacts(
    events: list[metadata_store_pb2.Event],
    kinds: tuple[metadata_store_pb2.Event.Type, ...],
    artifacts: Mapping[int, metadata_store_pb2.Artifact],
) -> dict[str, metadata_store_pb2.Artifact]:
    return {
        event.path.steps[0].key: artifacts[event.artifact_id]
        for event in sorted(events, key=lambda one: one.artifact_id)
        if event.type in kinds and event.path.steps and event.artifact_id in artifacts
    }


def _runs_of(store: MetadataStore) -> list[RunRecord]:
    executions = {one.id: one for one in store.get_executions()}
    artifacts = {one.id: one for one in store.get_artifacts()}
    types = {one.id: one.name for one in store.get_execution_types()}
    events: dict[int, list[metadata_store_pb2.Event]] = {number: [] for number in executions}
    for event in store.get_events_by_execution_ids(list(executions)) if executions else []:
        events[event.execution_id].append(event)
    # A step's context is called PIPELINE.STEP.
    steps = {
        execution.id: context.name.rpartition(".")
        for context in store.get_contexts_by_type(_STEP)
        for execution in store.get_executions_by_context(context.id)
    }

    def record(number: int) -> StepRecord:
        execution = executions[number]
        return StepRecord(
            name=steps[number][2],
            state=execution.last_known_state,
            parameters={
                name: value.string_value for name, value in execution.custom_properties.items()
            },
            inputs=_artifacts(events[number], _INPUTS, artifacts),
            outputs=_artifacts(events[number], _OUTPUTS, artifacts),
            updated=execution.last_update_time_since_epoch,
        )

    runs = []
    contexts = store.get_contexts_by_type(_RUN)
    for context in sorted(contexts, key=lambda one: (one.create_time_since_epoch, one.id)):
        # A run that is at work may have gone on since the executions were read.
        numbers = sorted(
            one.id
            for one in store.get_executions_by_context(context.id)
            if one.id in executions and one.id in steps
        )
        shown = [one for one in numbers if not types[executions[one].type_id].endswith(_RESOLVER)]
        runs.append(
            RunRecord(
                run=context.name,
                pipeline=steps[numbers[0]][0] if numbers else "",
                began=context.create_time_since_epoch,
                steps={one.name: one for one in map(record, shown)},
            )
        )
    return runs
