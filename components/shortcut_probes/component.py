"""The contract of ShortcutProbes."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.shortcut_probes import artifact
from components.shortcut_probes.executor import Executor

DEFAULT_SLICES = 300


class ShortcutProbesSpec(types.ComponentSpec):
    """Parameters, inputs and outputs of ShortcutProbes."""

    PARAMETERS = {  # noqa: RUF012 TFX reads these
        "slices": component_spec.ExecutionParameter(type=int),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {  # noqa: RUF012
        "probes": component_spec.ChannelParameter(type=artifact.ShortcutProbes),
    }


class ShortcutProbes(base_component.BaseComponent):
    """Find out how well a model tells the classes apart where it cannot see the lungs.

    Outputs:
      probes: an `artifact.ShortcutProbes`, with `probes.json` (see `outcome`). It blocks nothing.
    """

    SPEC_CLASS = ShortcutProbesSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        code_version: str,
        slices: int = DEFAULT_SLICES,
    ):
        """Describe one round of probes.

        Args:
          examples: raw CT examples; test slices are altered, and features of files are learned on
            those of training.
          model: the export.
          code_version: changes when the code of the probes does.
          slices: how many test slices the model is asked about, at most.

        Raises:
          ValueError: fewer than one slice.
        """
        if slices < 1:
            raise ValueError(f"slices must be 1 or more, not {slices}")
        super().__init__(
            spec=ShortcutProbesSpec(
                examples=examples,
                model=model,
                slices=slices,
                code_version=code_version,
                probes=types.Channel(type=artifact.ShortcutProbes),
            )
        )
