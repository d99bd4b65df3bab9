"""The contract of SliceValidator: that of TFX's ExampleValidator."""

from tfx.components import ExampleValidator
from tfx.dsl.components.base import executor_spec

from components.slice_validator.executor import Executor


class SliceValidator(ExampleValidator):
    """Validate the statistics of CT examples, all features but the pixels."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
