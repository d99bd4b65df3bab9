"""The contract of TraceableTrainer: that of TFX's Trainer."""

from tfx.components import Trainer
from tfx.dsl.components.base import executor_spec

from components.traceable_trainer.executor import Executor


class TraceableTrainer(Trainer):
    """Train a model whose artifact says what it was made from.

    `custom_config` holds, beside what `run_fn` reads, what `components.traceable_trainer.origin`
    says of the model.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
