"""The work of ReportGen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.report_gen.content import gather
from components.report_gen.render import render_report
from components.report_gen.step_times import read_step_times
from components.run_facts.facts import RunSettings


class Executor(base_executor.BaseExecutor):
    """Executor of ReportGen."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Gather what the steps left and write the report."""
        self._log_startup(input_dict, output_dict, exec_properties)
        times, run_id = exec_properties.get("step_times"), None
        if self._context is not None:
            run_id = self._context.pipeline_run_id
        content = gather(
            input_dict,
            RunSettings.from_json(exec_properties["settings"]),
            read_step_times(Path(times), run_id) if times and run_id else None,
        )
        report = Path(artifact_utils.get_single_uri(output_dict["report"]))
        render_report(content, report)
