"""A candidate in the embedded server, in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

from tfx.utils import io_utils

from transform.errors import CtnetError

_START_SECONDS = 300
_STOP_SECONDS = 30
_ENDING_SECONDS = 5


class UnservableModelError(CtnetError):
    """The candidate cannot be served: one line that says why."""


def _last_line(errors: IO[str], served: str, model_path: str) -> str:
    """The server's last words, about the model as the run knows it."""
    errors.seek(0)
    line = (errors.read().strip().splitlines() or ["no message"])[-1]
    return line.removeprefix("error: ").replace(served, model_path)


@contextlib.contextmanager
def candidate_server(model_path: str) -> Iterator[str]:
    """Serve a SavedModel, as `ctnet serve` would; what is asked within the context ends with it.

    Yields:
      The server's address.

    Raises:
      UnservableModelError: the server does not come up, or ends while it is asked.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile("w+", errors="replace") as errors,
    ):
        served = f"{folder}/1"
        io_utils.copy_dir(model_path, served)
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", folder, "--port", "0", "--no-rest"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        # A server that hangs while it loads ends the wait for its line by being ended.
        limit = threading.Timer(_START_SECONDS, process.kill)
        limit.start()
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            limit.cancel()
            if not ready:
                raise UnservableModelError(
                    f"the server did not start: {_last_line(errors, served, model_path)}"
                )
            try:
                yield ready.split()[-1]
            except CtnetError as error:
                # A process that is going is seen to be gone a moment later.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_ENDING_SECONDS)
                if process.returncode is None:
                    raise
                raise UnservableModelError(
                    f"the server ended with exit code {process.returncode} when it was asked: "
                    f"{_last_line(errors, served, model_path)}"
                ) from error
        finally:
            limit.cancel()
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
