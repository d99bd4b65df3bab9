"""`ctnet serve`: the options of the embedded server, and its process from start to signal.

Free of TensorFlow until the options are checked: a mistyped one is answered at once.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from serving.message_size import MAX_MESSAGE_BYTES
from serving.model_versions import newest_version
from serving.server_options import (
    MAX_PENDING_BYTES,
    POLL_SECONDS,
    PORT,
    REST_PORT,
    REST_TIMEOUT_SECONDS,
    BatchingOptions,
)
from transform.errors import ConfigError
from transform.prediction import MODEL_NAME

# The largest message that gRPC can be told of, and more seconds than anybody waits.
_HIGHEST = 2**31 - 1


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _end(signal_number: int, frame: object) -> None:
    # Raised in the main thread wherever it is: while loading it ends at once, while serving it
    # leaves the server's context, which drains. A second signal ends the draining.
    raise SystemExit(0)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what native code writes to stderr."""
    kept = os.dup(sys.stderr.fileno())
    try:
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), sys.stderr.fileno())
        yield
    finally:
        os.dup2(kept, sys.stderr.fileno())
        os.close(kept)


def _prepare_tensorflow(verbose: bool) -> None:
    """Set what TensorFlow reads from the environment when it is first imported, and import it."""
    # Keras is not used here, and importing its third version takes half of the time to start.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    # A server that validates an export shares the device with the trainer.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if verbose:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    # TensorFlow logs about oneDNN and CUDA before it obeys its own log level.
    with _silent_stderr():
        import tensorflow as tf

        # On a machine without a GPU, the first look for one complains as an error.
        tf.config.list_physical_devices("GPU")
    tf.get_logger().setLevel("ERROR")


def _log_to_stderr() -> None:
    """Show what happens to versions; everything else that logs stays as it is."""
    log = logging.getLogger("serving")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.handlers[:] = [handler]


def serve(
    model_dir: Annotated[Path, typer.Argument(help="A folder of versions: WORKDIR/serving/ctnet.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Of gRPC; 0 takes any free one.")] = PORT,
    rest_port: Annotated[
        int, typer.Option("--rest-port", help="Of REST and metrics; 0 takes any free one.")
    ] = REST_PORT,
    no_rest: Annotated[bool, typer.Option("--no-rest", help="gRPC only.")] = False,
    model_name: Annotated[
        str, typer.Option("--model-name", help="The name that requests ask for.")
    ] = MODEL_NAME,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="Certificate (PEM): encrypt both ports.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", help="The certificate's private key (PEM).")
    ] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option("--tls-client-ca", help="Who must have signed a client's (PEM).")
    ] = None,
    poll_seconds: Annotated[
        float, typer.Option("--poll-seconds", help="Between looks for another version.")
    ] = POLL_SECONDS,
    pin_version: Annotated[
        int | None, typer.Option("--pin-version", help="Serve this version and no other.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for a first version instead of ending.")
    ] = False,
    max_batch_size: Annotated[
        int, typer.Option("--max-batch-size", help="Slices of several requests computed together.")
    ] = BatchingOptions.max_batch_size,
    batch_delay_ms: Annotated[
        float, typer.Option("--batch-delay-ms", help="A request waits so long for others.")
    ] = 1000 * BatchingOptions.delay_seconds,
    batch_threads: Annotated[
        int, typer.Option("--batch-threads", help="Batches computed at once.")
    ] = BatchingOptions.threads,
    queue_limit: Annotated[
        int, typer.Option("--queue-limit", help="Requests that may wait; more are refused.")
    ] = BatchingOptions.max_queued,
    max_request_rows: Annotated[
        int, typer.Option("--max-request-rows", help="Most slices of one request.")
    ] = BatchingOptions.max_request_rows,
    max_message_bytes: Annotated[
        int, typer.Option("--max-message-bytes", help="Largest request and response.")
    ] = MAX_MESSAGE_BYTES,
    max_pending_bytes: Annotated[
        int, typer.Option("--max-pending-bytes", help="Of all requests that wait or are computed.")
    ] = MAX_PENDING_BYTES,
    rest_timeout: Annotated[
        float,
        typer.Option(
            "--rest-timeout", help="Seconds a REST request may take to arrive, then to be answered."
        ),
    ] = REST_TIMEOUT_SECONDS,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show TensorFlow's log.")] = False,
) -> None:
    """Serve the newest version over TF Serving's gRPC and REST protocols, on this machine.

    It takes up newer versions as they are pushed. SIGTERM lets what was asked be answered.
    """
    for option, value in (
        ("--poll-seconds", poll_seconds),
        ("--max-message-bytes", max_message_bytes),
        ("--rest-timeout", rest_timeout),
    ):
        if not 0 < value <= _HIGHEST:
            raise ConfigError(f"{option} is {value}: give more than 0, at most {_HIGHEST}")
    for option, number in (
        ("--max-batch-size", max_batch_size),
        ("--batch-threads", batch_threads),
        ("--queue-limit", queue_limit),
        ("--max-request-rows", max_request_rows),
        ("--max-pending-bytes", max_pending_bytes),
    ):
        if number < 1:
            raise ConfigError(f"{option} is {number}: give 1 or more")
    if port == rest_port != 0 and not no_rest:
        raise ConfigError(f"--port and --rest-port are both {port}: give two ports, or --no-rest")
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together: give both")
    if tls_client_ca is not None and tls_cert is None:
        raise ConfigError("--tls-client-ca needs --tls-cert and --tls-key: give them, too")
    if not wait:
        # The server looks again; this look spares a mistyped folder the wait for TensorFlow.
        newest_version(model_dir, pin_version)
    tls = None
    if tls_cert is not None and tls_key is not None:
        from serving.server_tls import read_server_tls

        tls = read_server_tls(tls_cert, tls_key, tls_client_ca)
    batching = BatchingOptions(
        max_batch_size=max_batch_size,
        delay_seconds=batch_delay_ms / 1000,
        max_queued=queue_limit,
        max_request_rows=max_request_rows,
        threads=batch_threads,
    )
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    _log_to_stderr()
    _prepare_tensorflow(verbose)
    from serving.server import EmbeddedServer

    # What is loaded now stays; without this, freeing an old version looks through all of it.
    gc.freeze()
    with EmbeddedServer(
        model_dir,
        model_name=model_name,
        host=host,
        port=port,
        rest_port=None if no_rest else rest_port,
        max_message_bytes=max_message_bytes,
        max_pending_bytes=max_pending_bytes,
        batching=batching,
        tls=tls,
        poll_seconds=poll_seconds,
        pinned_version=pin_version,
        wait=wait,
        rest_timeout_seconds=rest_timeout,
    ) as server:
        if server.version is None:
            sys.stderr.write(
                f"waiting for a first version under {model_dir}; listening at {server.address}\n"
            )
            sys.stderr.flush()
        version = server.wait_for_version()
        _tell(f"serving {model_name} version {version} at {server.address}")
        if server.rest_url is not None:
            _tell(f"REST at {server.rest_url}/v1/models/{model_name}")
        server.wait()
