"""What training tells the person who waits for it, while it runs."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import tf_keras
from absl import logging


@dataclasses.dataclass(frozen=True)
class TrainingProgress:
    """How far training is.

    Attributes:
      phase: "head" or "fine-tuning".
      epoch: the epoch under way, from 1.
      epochs: of this phase.
      step: finished steps of the epoch.
      steps: of the epoch.
      metrics: figures so far; with `val_` ones when the epoch is finished.
      finished: whether the epoch is.
    """

    phase: str
    epoch: int
    epochs: int
    step: int
    steps: int
    metrics: dict[str, float]
    finished: bool


def _log(progress: TrainingProgress) -> None:
    if progress.finished:
        logging.info("%s", progress)


_listener: contextvars.ContextVar[Callable[[TrainingProgress], None]] = contextvars.ContextVar(
    "training_progress", default=_log
)


@contextlib.contextmanager
def telling(listener: Callable[[TrainingProgress], None]) -> Iterator[None]:
    """Have training within this context (and this process) tell `listener` of its progress."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class ProgressCallback(tf_keras.callbacks.Callback):
    """Keras callback that tells the listener after each step and each epoch."""

    def __init__(self, phase: str, epochs: int, steps: int):
        super().__init__()
        self._phase = phase
        self._epochs = epochs
        self._steps = steps
        self._epoch = 0

    def _tell(self, step: int, logs: dict[str, Any] | None, finished: bool) -> None:
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        _listener.get()(
            TrainingProgress(
                self._phase, self._epoch, self._epochs, step, self._steps, metrics, finished
            )
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note which epoch it is."""
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell of one step."""
        self._tell(batch + 1, logs, finished=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell of one epoch, with its validation figures."""
        self._tell(self._steps, logs, finished=True)
