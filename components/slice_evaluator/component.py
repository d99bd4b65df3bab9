"""The contract of SliceEvaluator: that of TFX's Evaluator."""

from tfx.components import Evaluator
from tfx.dsl.components.base import executor_spec

from components.slice_evaluator.executor import Executor


class SliceEvaluator(Evaluator):
    """Evaluate a model, gate it, and leave its prediction for every slice.

    The evaluation artifact holds, beside what TFMA writes, `predictions-*.jsonl` (see
    `components.slice_evaluator.predictions`).
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
