"""The work of SliceEvaluator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as evaluator
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from components.shortcut_probes.outcome import ProbeResults, read_probes
from components.slice_evaluator import extractors, predictions
from components.slice_evaluator.evaluation import FILE, Evaluation
from components.slice_evaluator.gate import Bounds, judge, judge_alarm
from components.slice_evaluator.patient_bootstrap import CONFIDENCE
from components.slice_evaluator.tfma_result import read_parts
from transform.whole_file import write_whole

BOUNDS, RESAMPLES, SEED = "bounds", "resamples", "seed"
"""Execution parameters beside those of TFX's Evaluator."""

PROBES = "probes"
"""An input beside those of TFX's Evaluator."""


def _evaluate(
    folder: str, exec_properties: dict[str, Any], probes: ProbeResults | None
) -> Evaluation:
    """Judge what TFMA left in a folder, and the probes where they may refuse."""
    bounds = Bounds.from_json(exec_properties[BOUNDS])
    threshold, overall, groups = read_parts(folder)
    alarm = judge_alarm(overall, bounds)
    results = judge(overall, groups, alarm, bounds, probes)
    return Evaluation(
        passed=all(one.passed for one in results),
        threshold=threshold,
        confidence=CONFIDENCE,
        resamples=exec_properties[RESAMPLES],
        seed=exec_properties[SEED],
        bounds=results,
        leak_alarm=alarm,
        overall=overall,
        groups=groups,
    )


def _withdraw(blessing: types.Artifact) -> None:
    """Turn the blessing that TFX gave into none."""
    blessed = f"{blessing.uri}/{constants.BLESSED_FILE_NAME}"
    if fileio.exists(blessed):
        fileio.remove(blessed)
    io_utils.write_string_file(f"{blessing.uri}/{constants.NOT_BLESSED_FILE_NAME}", "")
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY, constants.NOT_BLESSED_VALUE
    )


class Executor(evaluator.Executor):
    """Evaluator's executor with more extractors, and a judge of our own.

    TFX blesses whatever has a slice (see `eval_config`), and the blessing is withdrawn here where a
    bound fails. Nobody sees it in between: artifacts are published when an execution has ended, and
    one that fails on the way publishes none.
    """

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluate, write predictions and record beside the metrics, and bless or not."""
        folder = artifact_utils.get_single_uri(output_dict[standard_component_specs.EVALUATION_KEY])
        with predictions.written_to(folder):
            super().Do(
                input_dict,
                output_dict,
                {**exec_properties, standard_component_specs.MODULE_PATH_KEY: extractors.__name__},
            )
        probed = input_dict.get(PROBES)
        probes = read_probes(Path(artifact_utils.get_single_uri(probed))) if probed else None
        evaluation = _evaluate(folder, exec_properties, probes)
        write_whole(f"{folder}/{FILE}", evaluation.to_json().encode())
        if not evaluation.passed:
            _withdraw(
                artifact_utils.get_single_instance(
                    output_dict[standard_component_specs.BLESSING_KEY]
                )
            )
