"""A candidate in the embedded server, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

from tfx.utils import io_utils

from components.serving_validator import bound_server
from transform.errors import CtnetError

START_SECONDS = 300.0
"""That a candidate may take to load and to answer its own warm-up requests."""

_STOP_SECONDS = 30
_ENDING_SECONDS = 5


class UnservableModelError(CtnetError):
    """The candidate cannot be served: one line that says why."""


def _last_line(errors: IO[str], served: str, model_path: str) -> str:
    """The server's last words, about the model as the run knows it."""
    errors.seek(0)
    line = (errors.read().strip().splitlines() or ["its log is empty"])[-1]
    return line.removeprefix("error: ").replace(served, model_path)


@contextlib.contextmanager
def candidate_server(model_path: str, start_seconds: float = START_SECONDS) -> Iterator[str]:
    """Serve a SavedModel, as `ctnet serve` would; what is asked within the context ends with it.

    Args:
      model_path: the SavedModel.
      start_seconds: that it may take until the server answers.

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
            [
                *(sys.executable, "-m", bound_server.__name__, str(os.getpid())),
                *(folder, "--port", "0", "--no-rest"),
            ],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        # A server that hangs while it loads ends the wait for its line by being ended.
        limit = threading.Timer(start_seconds, give_up)
        limit.start()
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            limit.cancel()
            if late.is_set():
                raise UnservableModelError(
                    f"the server did not begin to answer within {start_seconds:g} s; the last line "
                    f"of its log: {_last_line(errors, served, model_path)}"
                )
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
