"""The contract of SliceEvaluator: that of TFX's Evaluator."""

from __future__ import annotations

from typing import Any

from tfx.components import Evaluator
from tfx.dsl.components.base import executor_spec

from components.slice_evaluator.executor import Executor


class SliceEvaluator(Evaluator):
    """Evaluate a model, gate it, and leave its prediction for every slice.

    The evaluation artifact holds, beside what TFMA writes, `predictions-*.jsonl` (see
    `components.slice_evaluator.predictions`).
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, *, code_version: str, **evaluator_arguments: Any):
        """Describe one evaluation.

        Args:
          code_version: changes when the code of the evaluation does, so that the cache misses.
          **evaluator_arguments: of TFX's Evaluator, all but `module_file` and `module_path`.
        """
        # The executor puts its own module there; what stands here only has to be in the key.
        super().__init__(module_path=code_version, **evaluator_arguments)
