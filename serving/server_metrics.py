"""What the server counts and times, under TF Serving's names where TF Serving has one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import grpc

from serving.prometheus_text import Counter, Gauge, Histogram, text_of
from serving.request_error import RequestError

GRPC = "GRPC"
REST = "REST"

# TF Serving's own scale: 10 us and up by factors of 1.8, to about 20 minutes.
_LATENCY_BOUNDS = [10.0 * 1.8**power for power in range(33)]
_SIZE_BOUNDS = [float(2**power) for power in range(11)]


class ServerMetrics:
    """The figures of one server; threads share it."""

    def __init__(
        self, model_name: str, queue_length: Callable[[], int], version: Callable[[], int | None]
    ):
        """Begin at zero.

        Args:
          model_name: the only model; requests for others are counted with it, so that what
            strangers ask for does not become a label.
          queue_length: how many calls wait now.
          version: the number of the version in service now.
        """
        self._model_name = model_name
        self._requests = Counter(
            ":tensorflow:serving:request_count",
            "Requests answered.",
            ("model_name", "method", "entrypoint", "status"),
        )
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds from the arrival of a request to its answer.",
            ("model_name", "API", "entrypoint"),
            _LATENCY_BOUNDS,
        )
        self._batches = Histogram(
            ":tensorflow:serving:batching_session:processed_batch_size",
            "Rows computed together.",
            (),
            _SIZE_BOUNDS,
        )
        self._metrics = (
            self._requests,
            self._latency,
            self._batches,
            Gauge(
                ":tensorflow:serving:batching_session:queue_length",
                "Requests that wait for a batch.",
                queue_length,
            ),
            Gauge(
                ":tensorflow:serving:model_version",
                "The version that answers.",
                version,
            ),
        )

    @contextlib.contextmanager
    def measured(self, method: str, entrypoint: str) -> Iterator[None]:
        """Count and time the request that the block answers, with the status it ends with."""
        begun = time.perf_counter()
        status = grpc.StatusCode.INTERNAL
        try:
            yield
            status = grpc.StatusCode.OK
        except RequestError as error:
            status = error.code
            raise
        finally:
            microseconds = (time.perf_counter() - begun) * 1e6
            self._requests.add(self._model_name, method, entrypoint, status.name)
            self._latency.observe(microseconds, self._model_name, method, entrypoint)

    def observe_batch(self, rows: int) -> None:
        """Count a batch by its number of rows."""
        self._batches.observe(rows)

    def text(self) -> str:
        """Everything in Prometheus's text format."""
        return text_of(self._metrics)
