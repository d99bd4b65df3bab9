"""The contract of ReportGen."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.ct_example_gen.quarantine import Quarantine
from components.report_gen.executor import Executor
from components.report_gen.report import Report
from components.run_facts.facts import RunSettings
from components.shortcut_probes.artifact import ShortcutProbes


class ReportGenSpec(types.ComponentSpec):
    """Parameters, inputs and outputs of ReportGen."""

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
        "infra_blessing": component_spec.ChannelParameter(
            type=standard_artifacts.InfraBlessing, optional=True
        ),
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS = {  # noqa: RUF012
        "report": component_spec.ChannelParameter(type=Report),
    }


class ReportGen(base_component.BaseComponent):
    """Write what came of a run into one HTML file, with the model card beside it.

    Outputs:
      report: `index.html` and `model_card.md`.
    """

    SPEC_CLASS = ReportGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        quarantine: types.BaseChannel,
        model: types.BaseChannel,
        model_run: types.BaseChannel,
        evaluation: types.BaseChannel,
        blessing: types.BaseChannel,
        pushed_model: types.BaseChannel,
        settings: RunSettings,
        code_version: str,
        probes: types.BaseChannel | None = None,
        infra_blessing: types.BaseChannel | None = None,
    ):
        """Describe one report.

        Args:
          quarantine: of CTExampleGen.
          model: of the Trainer.
          model_run: of the Trainer, with its training record.
          evaluation: of SliceEvaluator.
          blessing: of SliceEvaluator.
          pushed_model: of the Pusher.
          settings: of the run.
          code_version: changes when the report's code does, so that the cache misses.
          probes: of ShortcutProbes, where the run has them.
          infra_blessing: of ServingValidator, where the model was tried in a server.
        """
        super().__init__(
            spec=ReportGenSpec(
                quarantine=quarantine,
                model=model,
                model_run=model_run,
                evaluation=evaluation,
                blessing=blessing,
                probes=probes,
                infra_blessing=infra_blessing,
                pushed_model=pushed_model,
                settings=settings.to_json(),
                code_version=code_version,
                report=types.Channel(type=Report),
            )
        )
