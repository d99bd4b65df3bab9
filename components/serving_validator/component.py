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
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {  # noqa: RUF012
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
    }


class ServingValidator(base_component.BaseComponent):
    """Find out whether an export can be served, as TFX's InfraValidator does with a container."""

    SPEC_CLASS = ServingValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        code_version: str,
        questions: int = 4,
    ):
        """Describe one validation.

        Args:
          model: the export.
          examples: raw CT examples; slices of the validation split are asked about.
          code_version: changes when the server's or validator's code does.
          questions: how many slices.
        """
        super().__init__(
            spec=ServingValidatorSpec(
                model=model,
                examples=examples,
                questions=questions,
                code_version=code_version,
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
