"""Rebuild the report of a run from what its steps left."""

from __future__ import annotations

from pathlib import Path

import tfx.v1  # noqa: F401 before everything that imports TFDV or TFMA
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import execution_lib

from components.report_gen.component import ReportGen
from components.report_gen.executor import Executor
from components.report_gen.report import INDEX, Report
from pipeline.workdir import Workdir
from transform.errors import ConfigError

_ENDED = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)


def rebuild_report(folder: Path) -> Path:
    """Write `folder/report` anew for the latest run that came to its end.

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
    settings = latest.custom_properties["settings"].string_value
    report = Report()
    report.uri = str(workdir.report)
    workdir.report.mkdir(exist_ok=True)
    Executor().Do(inputs, {"report": [report]}, {"settings": settings})
    return workdir.report / INDEX


_TYPE_NAME = f"{ReportGen.__module__}.{ReportGen.__name__}"
