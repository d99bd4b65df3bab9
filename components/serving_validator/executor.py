"""The work of ServingValidator."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from serving.client import Client, Prediction
from transform.ct_example import EVAL

_START_SECONDS = 300
_ANSWER_SECONDS = 120
_STOP_SECONDS = 30


class UnservableModelError(Exception):
    """The export does not load, or does not answer as `transform.prediction` says."""


@contextlib.contextmanager
def serving(model_path: str) -> Iterator[str]:
    """Serve a SavedModel in a process of its own.

    Yields:
      The server's address.

    Raises:
      UnservableModelError: the server does not come up.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        io_utils.copy_dir(model_path, f"{folder}/1")
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
                errors.seek(0)
                last = (errors.read().strip().splitlines() or ["no message"])[-1]
                raise UnservableModelError(f"the server did not start: {last}")
            yield ready.split()[-1]
        finally:
            limit.cancel()
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def check_answer(answer: Prediction) -> None:
    """Whether an answer keeps the promises of `transform.prediction`.

    Raises:
      UnservableModelError: it does not.
    """
    if not (math.isfinite(answer.probability) and 0.0 <= answer.probability <= 1.0):
        raise UnservableModelError(f"the probability {answer.probability} is not in [0, 1]")
    if answer.decision != int(answer.probability >= answer.threshold):
        raise UnservableModelError(
            f"the decision {answer.decision} contradicts the probability {answer.probability} "
            f"at the threshold {answer.threshold}"
        )


def _slices(examples: types.Artifact, number: int) -> list[tf.train.Example]:
    files = sorted(tf.io.gfile.glob(f"{artifact_utils.get_split_uri([examples], EVAL)}/*"))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").take(number)
    return [tf.train.Example.FromString(record) for record in records.as_numpy_iterator()]


class Executor(base_executor.BaseExecutor):
    """Executor of ServingValidator."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Serve the model, ask, and bless what answers.

        Raises:
          UnservableModelError: the model cannot be served; the run stops there.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict["model"])
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        questions = _slices(examples, exec_properties["questions"])
        with (
            serving(path_utils.serving_model_path(model.uri)) as address,
            Client(address, timeout=_ANSWER_SECONDS) as client,
        ):
            answers = client.predict_examples(questions)
        for answer in answers:
            check_answer(answer)
        # What TFX's InfraValidator leaves, and its Pusher reads.
        (Path(blessing.uri) / "INFRA_BLESSED").touch()
        blessing.set_int_custom_property("blessed", 1)
