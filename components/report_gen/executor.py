"""The work of ReportGen."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.report_gen.content import gather
from components.report_gen.render import render_report


def _created(evaluation: types.Artifact) -> str:
    """When the evaluation was made, in UTC; now where the metadata does not say (a lone step)."""
    milliseconds = evaluation.mlmd_artifact.create_time_since_epoch
    moment = (
        datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
        if milliseconds
        else datetime.datetime.now(datetime.UTC)
    )
    return moment.isoformat(timespec="seconds")


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
        settings = json.loads(exec_properties["settings"])
        evaluation = artifact_utils.get_single_instance(input_dict["evaluation"])
        blessing = artifact_utils.get_single_instance(input_dict["blessing"])
        # Runs of an older release reported without it.
        tried = input_dict.get("infra_blessing")
        # Names as in tfx.components.pusher.executor, where they are private.
        pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
        content = gather(
            quarantine=Path(artifact_utils.get_single_uri(input_dict["quarantine"])),
            training=Path(artifact_utils.get_single_uri(input_dict["model_run"])),
            evaluation=Path(evaluation.uri),
            serving=Path(artifact_utils.get_single_uri(tried)) if tried else None,
            name=settings["name"],
            created=_created(evaluation),
            blessed=blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY)
            == constants.BLESSED_VALUE,
            pushed=pushed.get_int_custom_property("pushed") == 1,
            version=pushed.get_string_custom_property("pushed_version") or None,
            destination=pushed.get_string_custom_property("pushed_destination") or None,
            config=settings["config"],
            leaks=settings["leaks"],
        )
        report = Path(artifact_utils.get_single_uri(output_dict["report"]))
        render_report(content, report)
