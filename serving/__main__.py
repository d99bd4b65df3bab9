"""Run the embedded server as a process: `python -m serving MODEL_DIR --port PORT`.

When it answers, it prints one line, `serving NAME version N at HOST:PORT`; SIGTERM or SIGINT lets
the calls in flight finish and ends it with exit code 0.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from serving.model_versions import newest_version
from transform.errors import ConfigError, CtnetError
from transform.prediction import MODEL_NAME

_FAILED = 1
_BAD_USAGE = 2


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve the newest model version under a folder over TF Serving's protocol.",
    )
    parser.add_argument("model_dir", type=Path, help="the folder of the numbered versions")
    parser.add_argument("--port", type=int, default=8500, help="0 for any free port (default 8500)")
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine only")
    parser.add_argument("--model-name", default=MODEL_NAME, help="default: %(default)s")
    parser.add_argument("--verbose", action="store_true", help="show TensorFlow's log")
    return parser.parse_args(arguments)


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


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal ends it.

    Args:
      arguments: the command line without the program; None for that of the process.

    Returns:
      The exit code: 2 for a model folder or an address that cannot be used.
    """
    options = _arguments(arguments)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        # The server looks again; this look spares a mistyped folder the wait for TensorFlow.
        newest_version(options.model_dir)
        _prepare_tensorflow(options.verbose)
        from serving.server import EmbeddedServer

        with EmbeddedServer(
            options.model_dir,
            model_name=options.model_name,
            host=options.host,
            port=options.port,
        ) as server:
            sys.stdout.write(
                f"serving {options.model_name} version {server.version} at {server.address}\n"
            )
            sys.stdout.flush()
            server.wait()
    except CtnetError as error:
        sys.stderr.write(f"error: {error}\n")
        return _BAD_USAGE if isinstance(error, ConfigError) else _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
