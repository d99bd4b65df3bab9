"""The contract of AtomicPusher: that of TFX's Pusher."""

from tfx.components import Pusher
from tfx.dsl.components.base import executor_spec

from components.atomic_pusher.executor import Executor


class AtomicPusher(Pusher):
    """Push a blessed model to a numbered folder, whole or not at all."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
