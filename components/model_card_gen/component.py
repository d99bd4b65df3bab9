"""The contract of ModelCardGen."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.ct_example_gen.quarantine import Quarantine
from components.model_card_gen.artifact import ModelCard
from components.model_card_gen.executor import Executor
from components.run_facts.facts import RunSettings
from components.shortcut_probes.artifact import ShortcutProbes


class ModelCardGenSpec(types.ComponentSpec):
    """Parameters, inputs and outputs of ModelCardGen."""

    PARAMETERS = {  # noqa: RUF012 TFX reads these
        "settings": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "quarantine": component_spec.ChannelParameter(type=Quarantine),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "probes": component_spec.ChannelParameter(type=ShortcutProbes, optional=True),
        "statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }
    OUTPUTS = {  # noqa: RUF012
        "model_card": component_spec.ChannelParameter(type=ModelCard),
    }


class ModelCardGen(base_component.BaseComponent):
    """Write the model card, blessed or not; AtomicPusher puts it into the version it pushes.

    Outputs:
      model_card: `model_card.md`.
    """

    SPEC_CLASS = ModelCardGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        quarantine: types.BaseChannel,
        model: types.BaseChannel,
        model_run: types.BaseChannel,
        evaluation: types.BaseChannel,
        blessing: types.BaseChannel,
        settings: RunSettings,
        code_version: str,
        probes: types.BaseChannel | None = None,
        statistics: types.BaseChannel | None = None,
    ):
        """Describe one card.

        Args:
          quarantine: of CTExampleGen.
          model: of the Trainer.
          model_run: of the Trainer, with its training record.
          evaluation: of SliceEvaluator.
          blessing: of SliceEvaluator.
          settings: of the run.
          code_version: changes when the card's code does, so that the cache misses.
          probes: of ShortcutProbes, where the run has them.
          statistics: of StatisticsGen, for who is in which split.
        """
        super().__init__(
            spec=ModelCardGenSpec(
                quarantine=quarantine,
                model=model,
                model_run=model_run,
                evaluation=evaluation,
                blessing=blessing,
                probes=probes,
                statistics=statistics,
                settings=settings.to_json(),
                code_version=code_version,
                model_card=types.Channel(type=ModelCard),
            )
        )
