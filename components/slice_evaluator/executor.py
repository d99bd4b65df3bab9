"""The work of SliceEvaluator."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.evaluator import executor as evaluator
from tfx.types import artifact_utils, standard_component_specs

from components.slice_evaluator import extractors, predictions


class Executor(evaluator.Executor):
    """Evaluator's executor with one more extractor."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluate, gate, and write the predictions beside the metrics."""
        evaluation = artifact_utils.get_single_uri(
            output_dict[standard_component_specs.EVALUATION_KEY]
        )
        with predictions.written_to(evaluation):
            super().Do(
                input_dict,
                output_dict,
                {**exec_properties, standard_component_specs.MODULE_PATH_KEY: extractors.__name__},
            )
