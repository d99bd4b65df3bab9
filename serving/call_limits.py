"""How long a call waits for its answer, and how it learns that nobody waits any more."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Self

import grpc


@dataclasses.dataclass(frozen=True)
class CallLimits:
    """What ends a call besides its answer.

    Attributes:
      deadline: when the answer is worth nothing any more, in seconds of `time.monotonic`; None for
        a caller who waits without end.
      on_end: registers what is called when the caller goes away, and says False where that has
        happened; None for a caller of whom nothing is heard.
    """

    deadline: float | None = None
    on_end: Callable[[Callable[[], None]], bool] | None = None

    @classmethod
    def of_seconds(cls, seconds: float) -> Self:
        """Limits of a call that begins now and may take that many seconds."""
        return cls(deadline=time.monotonic() + seconds)

    @classmethod
    def of_grpc(cls, context: grpc.ServicerContext) -> Self:
        """Deadline and cancellation of a gRPC call."""
        seconds = context.time_remaining()
        # Without a deadline, gRPC counts down from the end of its clock.
        endless = seconds is None or seconds > threading.TIMEOUT_MAX
        deadline = None if endless else time.monotonic() + seconds
        return cls(deadline=deadline, on_end=context.add_callback)

    def remaining(self) -> float | None:
        """Seconds until the deadline, not below zero; None without a deadline."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


NO_LIMITS = CallLimits()
"""A caller who waits without end."""
