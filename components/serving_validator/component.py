"""The contract of ServingValidator."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.serving_validator.executor import Executor


class ServingValidatorSpec(types.ComponentSpec):
    """Parameters, inputs and outputs of ServingValidator."""

    PARAMETERS = {  # noqa: RUF012 TFX reads these
        "questions": component_spec.ExecutionParameter(type=int),
        "max_latency_ms": component_spec.ExecutionParameter(type=float),
        "window_black": component_spec.ExecutionParameter(type=float),
        "window_white": component_spec.ExecutionParameter(type=float),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
    }
    OUTPUTS = {  # noqa: RUF012
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
    }


class ServingValidator(base_component.BaseComponent):
    """Find out whether an export can be served, as TFX's InfraValidator does with a container.

    Outputs:
      blessing: TFX's InfraBlessing, with `serving_validation.json` beside its marker.
    """

    SPEC_CLASS = ServingValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        evaluation: types.BaseChannel,
        max_latency_ms: float,
        window: tuple[float, float],
        code_version: str,
        questions: int = 16,
    ):
        """Describe one validation.

        Args:
          model: the export.
          examples: raw CT examples; slices of the test split are asked about.
          evaluation: of SliceEvaluator, whose predictions the answers must equal.
          max_latency_ms: the longest that a request of one slice may take, at the median.
          window: HU of black and white in pictures, as the export has it.
          code_version: changes when the server's or validator's code does.
          questions: how many slices.
        """
        black, white = window
        super().__init__(
            spec=ServingValidatorSpec(
                model=model,
                examples=examples,
                questions=questions,
                max_latency_ms=max_latency_ms,
                window_black=black,
                window_white=white,
                evaluation=evaluation,
                code_version=code_version,
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
