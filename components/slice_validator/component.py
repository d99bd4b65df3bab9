"""The contract of SliceValidator: that of TFX's ExampleValidator, with a baseline."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import json_utils

from components.slice_validator.executor import BASELINE_STATISTICS, REFUSE_DRIFT, Executor


class SliceValidatorSpec(types.ComponentSpec):
    """Parameters, inputs and outputs of SliceValidator."""

    PARAMETERS = {  # noqa: RUF012 TFX reads these
        "exclude_splits": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
        REFUSE_DRIFT: component_spec.ExecutionParameter(type=int, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        BASELINE_STATISTICS: component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }
    OUTPUTS = {  # noqa: RUF012
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }


class SliceValidator(base_component.BaseComponent):
    """Validate the statistics of CT examples, all features but the pixels.

    Outputs:
      anomalies: as ExampleValidator leaves them, and `drift.json` (see `drift`).
    """

    SPEC_CLASS = SliceValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        baseline_statistics: types.BaseChannel | None = None,
        refuse_drift: bool = False,
        code_version: str,
    ):
        """Describe one validation.

        Args:
          statistics: of the run.
          schema: the curated one.
          baseline_statistics: of the last accepted run; the channel may be empty.
          refuse_drift: whether drift since the last accepted run stops the run.
          code_version: changes when the code of the validation does, so that the cache misses.
        """
        super().__init__(
            spec=SliceValidatorSpec(
                statistics=statistics,
                schema=schema,
                exclude_splits=json_utils.dumps([]),
                code_version=code_version,
                anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
                # None where it may not, so that it is no part of the cache's key.
                **{
                    BASELINE_STATISTICS: baseline_statistics,
                    REFUSE_DRIFT: int(refuse_drift) or None,
                },
            )
        )
