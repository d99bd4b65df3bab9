"""The embedded server: TF Serving's gRPC protocol in a Python process.

It stands in for TF Serving's own binary in tests, demos and the validation of an export.
"""

from __future__ import annotations

import os
import socket
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.loaded_model import LoadedModel
from serving.message_size import MAX_MESSAGE_BYTES, size_options
from serving.model_service import ModelService
from serving.model_versions import newest_version
from serving.prediction_service import PredictionService
from serving.served_models import ServedModels
from transform.errors import ConfigError
from transform.prediction import MODEL_NAME

PORT = 8500
"""TF Serving's own gRPC port."""

GRACE = 10.0
"""Seconds that a stopping server gives the calls in flight."""

_HIGHEST_PORT = 65535

# Two calls more than cores, so that a status is answered while every core predicts.
_WORKERS = (os.cpu_count() or 1) + 2


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """Family and numeric address of a host name.

    gRPC would listen on every address of a name and be content when one of them is free: two
    servers could then share `localhost`, one on IPv4 and one on IPv6.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot listen on {host}: {reason}; give another host") from error
    return family, str(address[0])


def _obstacle(family: socket.AddressFamily, address: str, port: int) -> str | None:
    """Why nothing can listen there, which gRPC does not say; None where something can."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def _listen(server: grpc.Server, host: str, port: int) -> int:
    """Bind the server and return its port."""
    if not 0 <= port <= _HIGHEST_PORT:
        raise ConfigError(f"no port {port}: give one from 1 to {_HIGHEST_PORT}, or 0 for any")
    family, address = _resolve(host, port)
    target = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
    obstacle = _obstacle(family, address, port)
    if obstacle is None:
        try:
            return server.add_insecure_port(target)
        except RuntimeError:
            obstacle = "taken just now"
    raise ConfigError(
        f"cannot listen on {target} ({obstacle}): give another port, or 0 for any free one"
    )


class EmbeddedServer:
    """Serves the newest whole version under a folder.

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
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ):
        """Say what to serve and where; nothing is read or bound before `start`.

        Args:
          model_dir: the folder that holds the numbered versions.
          model_name: the name that requests must ask for.
          host: the name or address to listen on; the default is reached from this machine only.
          port: the port to listen on, 0 for any free one.
          max_message_bytes: the largest request and response, in bytes.
        """
        self._model_dir = model_dir
        self._model_name = model_name
        self._host = host
        self._port = port
        self._max_message_bytes = max_message_bytes
        self._server: grpc.Server | None = None
        self._address = ""
        self._version = 0

    @property
    def address(self) -> str:
        """Where the server listens, as host:port.

        Raises:
          RuntimeError: the server was never started.
        """
        self._require_start()
        return self._address

    @property
    def version(self) -> int:
        """The number of the version that is served.

        Raises:
          RuntimeError: the server was never started.
        """
        self._require_start()
        return self._version

    def start(self) -> None:
        """Load the newest version and answer requests from now on, in threads of this process.

        Raises:
          ConfigError: there is no whole version, it cannot be loaded, or the port is taken.
          RuntimeError: the server runs already.
        """
        if self._server is not None:
            raise RuntimeError("the server runs already")
        newest = newest_version(self._model_dir)
        # With SO_REUSEPORT, gRPC's default, a second server on the port would silently get half of
        # the requests instead of failing.
        server = grpc.server(
            futures.ThreadPoolExecutor(_WORKERS, thread_name_prefix="serving"),
            options=[*size_options(self._max_message_bytes), ("grpc.so_reuseport", 0)],
        )
        try:
            port = _listen(server, self._host, self._port)
            models = ServedModels(self._model_name, {newest.number: LoadedModel(newest)})
        except BaseException:
            server.stop(None)
            raise
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(models), server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models), server)
        server.start()
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._server, self._address, self._version = server, f"{host}:{port}", newest.number

    def wait(self) -> None:
        """Block until the server is stopped."""
        if self._server is not None:
            self._server.wait_for_termination()

    def stop(self, grace: float = GRACE) -> None:
        """Take no new calls, let those in flight finish, then free the port.

        Args:
          grace: seconds after which calls still in flight are cancelled.
        """
        server, self._server = self._server, None
        if server is not None:
            server.stop(grace).wait()

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

    def _require_start(self) -> None:
        if not self._address:
            raise RuntimeError("the server was not started")
