"""Run the embedded server as a process: `python -m serving MODEL_DIR --port PORT`.

When it answers, it prints one line, `serving NAME version N at HOST:PORT`, and with the REST API a
second, `REST at URL`; SIGTERM or SIGINT lets the calls in flight finish and ends it with exit code
0. What happens to versions afterwards goes to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from serving.message_size import MAX_MESSAGE_BYTES
from serving.model_versions import newest_version
from serving.server_options import (
    POLL_SECONDS,
    PORT,
    REST_PORT,
    REST_TIMEOUT_SECONDS,
    BatchingOptions,
)
from serving.server_tls import read_server_tls
from transform.errors import ConfigError, CtnetError
from transform.prediction import MODEL_NAME

_FAILED = 1
_BAD_USAGE = 2

# The largest message that gRPC can be told of, and more seconds than anybody waits.
_HIGHEST = 2**31 - 1


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve the newest model version under a folder over TF Serving's protocols.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("model_dir", type=Path, help="the folder of the numbered versions")
    parser.add_argument("--model-name", default=MODEL_NAME, help="the name that requests ask for")
    parser.add_argument("--verbose", action="store_true", help="show TensorFlow's log")

    address = parser.add_argument_group("address")
    address.add_argument("--host", default="127.0.0.1", help="the default is this machine only")
    address.add_argument("--port", type=int, default=PORT, help="of gRPC; 0 for any free one")
    address.add_argument(
        "--rest-port",
        type=int,
        default=REST_PORT,
        help="of the REST API and the metrics; 0 for any free one",
    )
    address.add_argument("--no-rest", action="store_true", help="gRPC only")
    address.add_argument("--tls-cert", type=Path, help="PEM certificate, for TLS on both ports")
    address.add_argument("--tls-key", type=Path, help="PEM key of the certificate")
    address.add_argument(
        "--tls-client-ca", type=Path, help="PEM certificates that must have signed a client's"
    )

    versions = parser.add_argument_group("versions")
    versions.add_argument(
        "--poll-seconds", type=float, default=POLL_SECONDS, help="between looks for a newer version"
    )
    versions.add_argument("--pin-version", type=int, help="serve this version and no other")
    versions.add_argument(
        "--wait", action="store_true", help="wait for a first version instead of ending"
    )

    load = parser.add_argument_group("load")
    batching = BatchingOptions()
    load.add_argument(
        "--max-batch-size",
        type=int,
        default=batching.max_batch_size,
        help="slices of several requests that are computed together",
    )
    load.add_argument(
        "--batch-delay-ms",
        type=float,
        default=batching.delay_seconds * 1000,
        help="how long a request waits for others to join it",
    )
    load.add_argument(
        "--batch-threads",
        type=int,
        default=batching.threads,
        help="batches that are computed at once",
    )
    load.add_argument(
        "--queue-limit",
        type=int,
        default=batching.max_queued,
        help="requests that may wait; more are refused",
    )
    load.add_argument(
        "--max-message-bytes",
        type=int,
        default=MAX_MESSAGE_BYTES,
        help="largest request and response",
    )
    load.add_argument(
        "--rest-timeout",
        type=float,
        default=REST_TIMEOUT_SECONDS,
        help="seconds that a REST request may take",
    )
    return parser.parse_args(arguments)


def _check(options: argparse.Namespace) -> None:
    """Refuse what cannot be, before TensorFlow is waited for.

    Raises:
      ConfigError: an option is out of its range, or the other half of a pair is missing.
    """
    for name in ("poll_seconds", "max_message_bytes", "rest_timeout"):
        value = getattr(options, name)
        if not 0 < value <= _HIGHEST:
            raise ConfigError(
                f"--{name.replace('_', '-')} is {value}: give more than 0, at most {_HIGHEST}"
            )
    if (options.tls_cert is None) != (options.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together: give both")
    if options.tls_client_ca is not None and options.tls_cert is None:
        raise ConfigError("--tls-client-ca needs --tls-cert and --tls-key: give them, too")
    if not options.wait:
        # The server looks again; this look spares a mistyped folder the wait for TensorFlow.
        newest_version(options.model_dir, options.pin_version)


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


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal ends it.

    Args:
      arguments: the command line without the program; None for that of the process.

    Returns:
      The exit code: 2 for a model folder or an address that cannot be used.
    """
    options = _arguments(arguments)
    try:
        _check(options)
        tls = None
        if options.tls_cert is not None:
            tls = read_server_tls(options.tls_cert, options.tls_key, options.tls_client_ca)
        batching = BatchingOptions(
            max_batch_size=options.max_batch_size,
            delay_seconds=options.batch_delay_ms / 1000,
            max_queued=options.queue_limit,
            threads=options.batch_threads,
        )
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, _end)
        _log_to_stderr()
        _prepare_tensorflow(options.verbose)
        from serving.server import EmbeddedServer

        # What is loaded now stays; without this, freeing an old version looks through all of it.
        gc.freeze()
        with EmbeddedServer(
            options.model_dir,
            model_name=options.model_name,
            host=options.host,
            port=options.port,
            rest_port=None if options.no_rest else options.rest_port,
            max_message_bytes=options.max_message_bytes,
            batching=batching,
            tls=tls,
            poll_seconds=options.poll_seconds,
            pinned_version=options.pin_version,
            wait=options.wait,
            rest_timeout_seconds=options.rest_timeout,
        ) as server:
            if server.version is None:
                sys.stderr.write(
                    f"waiting for a first version under {options.model_dir}; listening at"
                    f" {server.address}\n"
                )
                sys.stderr.flush()
            version = server.wait_for_version()
            _tell(f"serving {options.model_name} version {version} at {server.address}")
            if server.rest_url is not None:
                _tell(f"REST at {server.rest_url}/v1/models/{options.model_name}")
            server.wait()
    except CtnetError as error:
        sys.stderr.write(f"error: {error}\n")
        return _BAD_USAGE if isinstance(error, ConfigError) else _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
