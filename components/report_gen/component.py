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
        "step_times": component_spec.ExecutionParameter(type=str, optional=True),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "quarantine": component_spec.ChannelParameter(type=Quarantine),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(
            type=standard_artifacts.Examples, optional=True
        ),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "probes": component_spec.ChannelParameter(type=ShortcutProbes, optional=True),
        "statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
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
        examples: types.BaseChannel | None = None,
        probes: types.BaseChannel | None = None,
        statistics: types.BaseChannel | None = None,
        infra_blessing: types.BaseChannel | None = None,
        step_times: str | None = None,
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
          examples: of CTExampleGen; the page then shows some slices of the test split, with
            overlays by the model. Without them no picture of a patient is in it.
          probes: of ShortcutProbes, where the run has them.
          statistics: of StatisticsGen, for who is in which split.
          infra_blessing: of ServingValidator, where the model was tried in a server.
          step_times: the folder in which the runner says how long steps take (see `step_times`),
            the same for every run; None where the platform shows that.
        """
        super().__init__(
            spec=ReportGenSpec(
                quarantine=quarantine,
                model=model,
                examples=examples,
                model_run=model_run,
                evaluation=evaluation,
                blessing=blessing,
                probes=probes,
                statistics=statistics,
                infra_blessing=infra_blessing,
                pushed_model=pushed_model,
                settings=settings.to_json(),
                step_times=step_times,
                code_version=code_version,
                report=types.Channel(type=Report),
            )
        )
