"""What training tells the person who waits for it, while it runs."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import time
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
      seconds_left: of all epochs still to come, those of the next phase too, if none is spared by
        early stopping; None before it can be guessed.
      resumed: said once, before the first step, when training goes on from a checkpoint; `epoch`
        is then the first of this process.
    """

    phase: str
    epoch: int
    epochs: int
    step: int
    steps: int
    metrics: dict[str, float]
    finished: bool
    seconds_left: float | None = None
    resumed: bool = False


def _log(progress: TrainingProgress) -> None:
    if progress.finished or progress.resumed:
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


class PhaseClock:
    """How long the rest takes, guessed from the steps and epochs of the phase so far."""

    def __init__(
        self,
        epochs: int,
        steps: int,
        later_steps: float,
        now: Callable[[], float] = time.monotonic,
    ):
        """Begin a phase.

        Args:
          epochs: of the phase that this process still has to do.
          steps: of an epoch.
          later_steps: of the phases after this one, in steps of this one.
          now: a clock, in seconds.
        """
        self._epochs_left = epochs
        self._steps = steps
        self._later_steps = later_steps
        self._now = now
        self._mark = now()
        self._step = 0
        self._timed_steps = 0
        self._timed_seconds = 0.0
        self._seconds_after_steps = 0.0
        self._traced = False

    def _since_mark(self) -> float:
        before, self._mark = self._mark, self._now()
        return self._mark - before

    def begin_epoch(self) -> None:
        """The first step of an epoch begins."""
        self._step = 0
        self._mark = self._now()

    def end_step(self) -> None:
        """A step is done."""
        seconds = self._since_mark()
        self._step += 1
        # The first one is mostly TensorFlow making its graph.
        if self._traced:
            self._timed_steps += 1
            self._timed_seconds += seconds
        self._traced = True

    def end_epoch(self) -> None:
        """All that an epoch takes after its steps (validation, saving) is done too."""
        self._seconds_after_steps = self._since_mark()
        self._epochs_left -= 1
        self._step = 0

    def seconds_left(self) -> float | None:
        """The guess; None while no step was timed."""
        if not self._timed_steps:
            return None
        a_step = self._timed_seconds / self._timed_steps
        steps = self._epochs_left * self._steps - self._step + self._later_steps
        epochs = self._epochs_left + self._later_steps / self._steps
        return steps * a_step + epochs * self._seconds_after_steps


class PhaseProgress(tf_keras.callbacks.Callback):
    """Keras callback that tells the listener after each step; and what tells it of the rest."""

    def __init__(self, phase: str, epochs: int, steps: int, clock: PhaseClock):
        """Begin a phase.

        Args:
          phase: "head" or "fine-tuning".
          epochs: of the phase.
          steps: of an epoch.
          clock: of the phase.
        """
        super().__init__()
        self._phase = phase
        self._epochs = epochs
        self._steps = steps
        self._clock = clock
        self._epoch = 0

    def _tell(
        self,
        step: int,
        metrics: dict[str, Any] | None = None,
        *,
        finished: bool = False,
        resumed: bool = False,
    ) -> None:
        _listener.get()(
            TrainingProgress(
                self._phase,
                self._epoch,
                self._epochs,
                step,
                self._steps,
                {name: float(value) for name, value in (metrics or {}).items()},
                finished,
                self._clock.seconds_left(),
                resumed,
            )
        )

    def begin_epoch(self, epoch: int, *, resumed: bool = False) -> None:
        """Note which epoch it is, from 1; tell only of the first one after a stop."""
        self._epoch = epoch
        self._clock.begin_epoch()
        if resumed:
            self._tell(0, resumed=True)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell of one step."""
        self._clock.end_step()
        self._tell(batch + 1, logs)

    def end_epoch(self, metrics: dict[str, float]) -> None:
        """Tell of one epoch, with its validation figures."""
        self._clock.end_epoch()
        self._tell(self._steps, metrics, finished=True)
