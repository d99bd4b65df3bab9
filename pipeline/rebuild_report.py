"""Rebuild the report of a run from what its steps left."""

from __future__ import annotations

from pathlib import Path

import tfx.v1  # noqa: F401 before everything that imports TFDV or TFMA
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.types import artifact_utils

from components.report_gen.component import ReportGen
from components.report_gen.content import PUSHED_MODEL
from components.report_gen.executor import Executor
from components.report_gen.report import INDEX, Report
from components.report_gen.step_times import FOLDER as STEP_TIMES
from pipeline.history.versions import VersionsThere
from pipeline.run_folder.workdir import Workdir
from transform.errors import ConfigError

_PIPELINE_RUN = "pipeline_run"
# Names as in tfx.components.pusher.executor, where they are private.
_VERSION, _DESTINATION = "pushed_version", "pushed_destination"
_ENDED = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)


def rebuild_report(folder: Path) -> Path:
    """Write `folder/report` anew for the latest run that came to its end.

    A model that was pushed again since, as runs from the cache do, is there under its new number.

    Returns:
      The page.

    Raises:
      ConfigError: the folder holds no such run.
    """
    workdir = Workdir(folder.resolve())
    nothing = ConfigError(f"{folder}: no run came to its end here; start one with ctnet run")
    if not workdir.metadata.exists():
        raise nothing
    connection = metadata.sqlite_metadata_connection_config(str(workdir.metadata))
    with metadata.Metadata(connection) as handle:
        executions = [
            execution
            for execution in handle.store.get_executions_by_type(_TYPE_NAME)
            if execution.last_known_state in _ENDED
        ]
        if not executions:
            raise nothing
        latest = max(executions, key=lambda execution: execution.id)
        inputs = execution_lib.get_input_artifacts(handle, latest.id)
        run_id = _run_of(handle, latest)
    _renumber(artifact_utils.get_single_instance(inputs[PUSHED_MODEL]), workdir)
    report = Report()
    report.uri = str(workdir.report)
    workdir.report.mkdir(exist_ok=True)
    Executor(Executor.Context(pipeline_run_id=run_id)).Do(
        inputs,
        {"report": [report]},
        {
            "settings": latest.custom_properties["settings"].string_value,
            # Where this folder is now, and not where it was when the run was made.
            "step_times": str(workdir.artifacts / STEP_TIMES),
        },
    )
    return workdir.report / INDEX


def _renumber(pushed: types.Artifact, workdir: Workdir) -> None:
    """Have an artifact say under which number its model is there now, if it is."""
    first = pushed.get_string_custom_property(_VERSION)
    there = VersionsThere(workdir.serving).that_hold(Path(pushed.uri), first) if first else []
    if there:
        pushed.set_string_custom_property(_VERSION, there[-1])
        pushed.set_string_custom_property(_DESTINATION, str(workdir.serving / there[-1]))


def _run_of(handle: metadata.Metadata, execution: metadata_store_pb2.Execution) -> str | None:
    """TFX's id of the run that an execution is of."""
    contexts = handle.store.get_contexts_by_execution(execution.id)
    return next((one.name for one in contexts if one.type == _PIPELINE_RUN), None)


_TYPE_NAME = f"{ReportGen.__module__}.{ReportGen.__name__}"
