"""The contract of SliceEvaluator: TFX's Evaluator with a gate of our own."""

from __future__ import annotations

from tfx import types
from tfx.components import Evaluator
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.shortcut_probes.artifact import ShortcutProbes
from components.slice_evaluator.eval_config import make_eval_config
from components.slice_evaluator.executor import BOUNDS, PROBES, RESAMPLES, SEED, Executor
from components.slice_evaluator.gate import Bounds


class SliceEvaluatorSpec(standard_component_specs.EvaluatorSpec):
    """Parameters, inputs and outputs of SliceEvaluator: the Evaluator's, and the gate's."""

    PARAMETERS = {  # noqa: RUF012 TFX reads it
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        BOUNDS: component_spec.ExecutionParameter(type=str),
        RESAMPLES: component_spec.ExecutionParameter(type=int),
        SEED: component_spec.ExecutionParameter(type=int),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        **standard_component_specs.EvaluatorSpec.INPUTS,
        PROBES: component_spec.ChannelParameter(type=ShortcutProbes, optional=True),
    }


class SliceEvaluator(Evaluator):
    """Evaluate a model, gate it, and leave its prediction for every slice.

    Outputs:
      evaluation: beside what TFMA writes, `evaluation.json` (see
        `components.slice_evaluator.evaluation`), `predictions-*.jsonl`, and with a baseline
        `baseline_predictions-*.jsonl` (see `components.slice_evaluator.predictions`).
      blessing: of TFX's kind.
    """

    SPEC_CLASS = SliceEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        example_splits: list[str],
        bounds: Bounds,
        resamples: int,
        seed: int,
        batch_size: int,
        code_version: str,
        baseline_model: types.BaseChannel | None = None,
        schema: types.BaseChannel | None = None,
        probes: types.BaseChannel | None = None,
    ):
        """Describe one evaluation.

        Args:
          examples: of CTExampleGen, raw.
          model: the candidate.
          example_splits: what of the examples it is evaluated on.
          bounds: of the gate.
          resamples: of the patients, for the intervals.
          seed: of the resamples.
          batch_size: slices an inference batch.
          code_version: changes when the code of the evaluation does, so that the cache misses.
          baseline_model: the model to compare with, where there is one.
          schema: of the examples.
          probes: of ShortcutProbes, where a shortcut of the model is to refuse it.
        """
        # Evaluator's own constructor makes a specification without a place for the gate's.
        base_beam_component.BaseBeamComponent.__init__(
            self,
            spec=SliceEvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                schema=schema,
                probes=probes,
                example_splits=json_utils.dumps(example_splits),
                eval_config=make_eval_config(resamples=resamples, seed=seed, batch_size=batch_size),
                fairness_indicator_thresholds=json_utils.dumps(None),
                bounds=bounds.to_json(),
                resamples=resamples,
                seed=seed,
                code_version=code_version,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            ),
        )
