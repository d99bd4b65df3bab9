"""What can be chosen about the embedded server: its defaults, and how calls are batched.

Free of TensorFlow, so that a command line is refused before TensorFlow is imported.
"""

from __future__ import annotations

import dataclasses

from transform.errors import ConfigError

PORT = 8500
"""TF Serving's own gRPC port."""

REST_PORT = 8501
"""TF Serving's own REST port."""

REST_TIMEOUT_SECONDS = 30.0
"""What TF Serving allows a REST request by default."""

MAX_PENDING_BYTES = 1024 * 1024 * 1024
"""Bytes of the requests that may wait or be computed at once: 16 of the largest."""

POLL_SECONDS = 1.0
"""Between two looks at the model's folder."""

GRACE = 10.0
"""Seconds that a stopping server gives the calls in flight."""

# Nobody waits for longer, and it is far from what the clock can count.
_LONGEST_DELAY = 60.0


@dataclasses.dataclass(frozen=True)
class BatchingOptions:
    """How calls are joined.

    Attributes:
      max_batch_size: the most rows that are computed together; a larger call is computed in parts.
      delay_seconds: how long the oldest call waits for others to join it; 0 joins what waits
        already, which costs a lone client nothing.
      max_queued: the most calls that wait; those beyond are refused with RESOURCE_EXHAUSTED.
      max_request_rows: the most rows of one call; a larger one is refused with INVALID_ARGUMENT, as
        TF Serving refuses one that is larger than its largest input batch.
      threads: how many batches are computed at once; two, so that one decodes while one computes.
    """

    max_batch_size: int = 16
    delay_seconds: float = 0.0
    max_queued: int = 128
    max_request_rows: int = 4096
    threads: int = 2

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_queued", "max_request_rows", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"batching: {name} is {getattr(self, name)}: give 1 or more")
        if not 0.0 <= self.delay_seconds <= _LONGEST_DELAY:
            raise ConfigError(
                f"batching: the delay is {self.delay_seconds} s: give 0 to {_LONGEST_DELAY:g} s"
            )

    @property
    def most_calls(self) -> int:
        """How many calls can wait or be computed at once."""
        return self.max_queued + self.threads * self.max_batch_size
