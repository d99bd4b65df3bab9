"""The embedded server: TF Serving's gRPC and REST protocols in a Python process.

It stands in for TF Serving's own binary in tests, demos and the validation of an export, and serves
a machine of its own.
"""

from __future__ import annotations

import threading
import time
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.batching import Batcher
from serving.health_service import add_health_service
from serving.listening import ListenAddress, host_and_port, listen_address
from serving.loaded_model import LoadedModel
from serving.message_size import MAX_MESSAGE_BYTES, size_options
from serving.model_service import ModelService
from serving.model_versions import ModelVersion
from serving.pending_bytes import PendingBytes
from serving.prediction_service import PredictionService
from serving.rest_api import RestApi, takes_body
from serving.rest_server import RestServer
from serving.served_models import ServedModels
from serving.server_metrics import ServerMetrics
from serving.server_options import (
    GRACE,
    MAX_PENDING_BYTES,
    POLL_SECONDS,
    PORT,
    REST_TIMEOUT_SECONDS,
    BatchingOptions,
)
from serving.server_tls import ServerTls
from serving.undecodable_requests import UndecodableRequestsInterceptor
from serving.version_watcher import VersionWatcher
from serving.warm_up import warm_up
from transform.prediction import MODEL_NAME

# Threads beyond those of calls that wait: for statuses, health, and refusing what is too much.
_SPARE_THREADS = 8

# A process that ends while a thread of it is inside TensorFlow may end with a crash.
_LAST_BATCH_SECONDS = 5.0


class EmbeddedServer:
    """Serves the newest whole version under a folder, and takes up newer ones while it runs.

    Example:
      with EmbeddedServer(Path("run/serving/ctnet"), port=0) as server:
          ask(server.address)
    """

    def __init__(
        self,
        model_dir: Path,
        *,
        model_name: str = MODEL_NAME,
        host: str = "127.0.0.1",
        port: int = PORT,
        rest_port: int | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        batching: BatchingOptions | None = None,
        tls: ServerTls | None = None,
        poll_seconds: float = POLL_SECONDS,
        pinned_version: int | None = None,
        wait: bool = False,
        rest_timeout_seconds: float = REST_TIMEOUT_SECONDS,
    ):
        """Say what to serve and where; nothing is read or bound before `start`.

        Args:
          model_dir: the folder that holds the numbered versions.
          model_name: the name that requests must ask for.
          host: the name or address to listen on; the default is reached from this machine only.
          port: the gRPC port, 0 for any free one.
          rest_port: the port of the REST API and the metrics, 0 for any free one; None for neither.
          max_message_bytes: the largest gRPC request and response and the largest REST request, in
            bytes.
          max_pending_bytes: the most bytes of all requests that wait or are computed, gRPC and REST
            together; a request that is alone may have more.
          batching: how calls of several clients are computed together; None for the defaults.
          tls: certificate and key for both ports; None for plain text.
          poll_seconds: between two looks for a newer version.
          pinned_version: the only version to serve; None for the newest.
          wait: start without a version and wait for a first one.
          rest_timeout_seconds: how long a REST request may take to arrive, and then to be answered.
        """
        self._model_dir = model_dir
        self._model_name = model_name
        self._host = host
        self._ports = (port, rest_port)
        self._max_message_bytes = max_message_bytes
        self._max_pending_bytes = max_pending_bytes
        self._batching = batching or BatchingOptions()
        self._tls = tls
        self._poll_seconds = poll_seconds
        self._pinned_version = pinned_version
        self._wait = wait
        self._rest_timeout_seconds = rest_timeout_seconds
        self._running: _Running | None = None
        self._last: _Running | None = None

    @property
    def address(self) -> str:
        """Where the server listens for gRPC, as host:port.

        Raises:
          RuntimeError: the server was never started.
        """
        return host_and_port(self._host, self._started().port)

    @property
    def rest_url(self) -> str | None:
        """Where the server listens for HTTP, as scheme://host:port; None without the REST API.

        Raises:
          RuntimeError: the server was never started.
        """
        rest = self._started().rest
        scheme = "http" if self._tls is None else "https"
        return None if rest is None else f"{scheme}://{host_and_port(self._host, rest.port)}"

    @property
    def version(self) -> int | None:
        """The number of the version that is served; None while a first one is waited for.

        Raises:
          RuntimeError: the server was never started.
        """
        return self._started().models.version

    def start(self) -> None:
        """Load the newest version and answer requests from now on, in threads of this process.

        Raises:
          ConfigError: there is no whole version (without `wait`), none can be loaded, or a port is
            taken.
          RuntimeError: the server runs already.
        """
        if self._running is not None:
            raise RuntimeError("the server runs already")
        port, rest_port = self._ports
        where = listen_address(self._host, port)
        rest_where = None if rest_port is None else listen_address(self._host, rest_port)
        running = _Running(self._model_name, self._batching, self._max_pending_bytes)
        try:
            running.port = running.listen_grpc(where, self._tls, self._max_message_bytes)
            if rest_where is not None:
                running.rest = RestServer(
                    rest_where,
                    RestApi(running.models, running.metrics, self._rest_timeout_seconds).answer,
                    takes_body=takes_body,
                    max_body_bytes=self._max_message_bytes,
                    request_seconds=self._rest_timeout_seconds,
                    pending=running.pending,
                    tls=None if self._tls is None else self._tls.context,
                )
            running.watcher = VersionWatcher(
                self._model_dir,
                running.models,
                running.load,
                pinned=self._pinned_version,
                poll_seconds=self._poll_seconds,
            )
            if not self._wait:
                running.watcher.load_first()
        except BaseException:
            running.stop(0.0)
            raise
        running.start()
        self._running = self._last = running

    def wait_for_version(self) -> int | None:
        """Block until a first version answers, and say which; None where the server was stopped."""
        running = self._running
        if running is None or running.watcher is None:
            return None
        running.watcher.wait_for_version()
        return running.models.version

    def wait(self) -> None:
        """Block until the server is stopped."""
        if self._running is not None:
            self._running.grpc.wait_for_termination()

    def stop(self, grace: float = GRACE) -> None:
        """Take no new calls, let those in flight finish, then free the ports.

        Args:
          grace: seconds after which calls still in flight are cancelled.
        """
        running, self._running = self._running, None
        if running is not None:
            running.stop(grace)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _started(self) -> _Running:
        if self._last is None:
            raise RuntimeError("the server was not started")
        return self._last


class _Running:
    """What a server has between start and stop."""

    def __init__(self, model_name: str, batching: BatchingOptions, max_pending_bytes: int):
        self.models = ServedModels(model_name)
        self.metrics = ServerMetrics(
            model_name, lambda: self.batcher.queued, lambda: self.models.version
        )
        self.batcher = Batcher(batching, self.metrics.observe_batch)
        self.pending = PendingBytes(max_pending_bytes)
        self._threads = batching.most_calls + _SPARE_THREADS
        self.grpc: grpc.Server
        self.port = 0
        self.rest: RestServer | None = None
        self.watcher: VersionWatcher | None = None
        self._draining = threading.Event()

    def listen_grpc(
        self, where: ListenAddress, tls: ServerTls | None, max_message_bytes: int
    ) -> int:
        """Bind the gRPC port with all services, and return it."""
        # With SO_REUSEPORT, gRPC's default, a second server on the port would silently get half of
        # the requests instead of failing.
        self.grpc = grpc.server(
            futures.ThreadPoolExecutor(self._threads, thread_name_prefix="serving"),
            interceptors=[UndecodableRequestsInterceptor()],
            # gRPC refuses those beyond, health checks like the others. Those that wait fill no more
            # than the threads, so that a health check is refused only where as many again stand in
            # line for the spare threads, which answer each at once.
            maximum_concurrent_rpcs=2 * self._threads,
            options=[*size_options(max_message_bytes), ("grpc.so_reuseport", 0)],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(self.models, self.metrics, self.pending), self.grpc
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self.models, self.metrics), self.grpc
        )
        add_health_service(self.grpc, self.is_ready)
        try:
            if tls is None:
                return int(self.grpc.add_insecure_port(where.target))
            return int(self.grpc.add_secure_port(where.target, tls.credentials))
        except RuntimeError as error:
            raise where.taken("taken just now") from error

    def is_ready(self) -> bool:
        """Whether a prediction would be answered now."""
        return self.models.version is not None and not self._draining.is_set()

    def load(self, version: ModelVersion) -> LoadedModel:
        """A version that has answered its warm-up requests."""
        model = LoadedModel(version)
        # Warm-up does not wait in line with the calls that the present version answers.
        warm_up(model, version)
        model.batcher = self.batcher
        return model

    def start(self) -> None:
        """Answer from now on."""
        assert self.watcher is not None
        self.grpc.start()
        if self.rest is not None:
            self.rest.start()
        self.watcher.start()

    def stop(self, grace: float) -> None:
        """Answer what was accepted, then free everything."""
        until = time.monotonic() + grace
        self._draining.set()
        grpc_stopped = self.grpc.stop(grace)
        if self.rest is not None:
            self.rest.stop(grace)
        grpc_stopped.wait()
        if self.watcher is not None:
            self.watcher.stop(max(until - time.monotonic(), 0.0))
        self.batcher.close(max(until - time.monotonic(), _LAST_BATCH_SECONDS))
