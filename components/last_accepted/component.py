"""The contract of LastAccepted."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.last_accepted.executor import Executor
from components.last_accepted.record import MODEL, STATISTICS


class LastAcceptedSpec(types.ComponentSpec):
    """Parameters and outputs of LastAccepted."""

    PARAMETERS = {  # noqa: RUF012 TFX reads these
        "folder": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, Any] = {}  # noqa: RUF012
    OUTPUTS = {  # noqa: RUF012
        MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        STATISTICS: component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }


class LastAccepted(base_component.BaseComponent):
    """Give a run on a cluster what earlier ones left, as it was before the run leaves its own.

    Outputs:
      model: the model that was blessed last.
      statistics: those that passed validation last. Either may be marked as absent.
    """

    SPEC_CLASS = LastAcceptedSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, *, folder: str):
        """Describe the look-up.

        Args:
          folder: of the record.
        """
        super().__init__(
            spec=LastAcceptedSpec(
                folder=folder,
                model=types.Channel(type=standard_artifacts.Model),
                statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
            )
        )
