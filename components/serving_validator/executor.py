"""The work of ServingValidator."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.serving_validator.candidate_server import UnservableModelError, candidate_server
from components.serving_validator.outcome import ServingOutcome
from components.serving_validator.questions import (
    ANSWER_SECONDS,
    FEW,
    check_other_signatures,
    compare,
    image_id,
    median_milliseconds,
    send_warm_up_requests,
)
from components.slice_evaluator.predictions import read_predictions
from serving.client import Client
from transform.ct_example import TEST
from transform.errors import CtnetError

# Names as in tfx.components.infra_validator.executor, where they are private.
_BLESSED, _NOT_BLESSED, _PROPERTY = "INFRA_BLESSED", "INFRA_NOT_BLESSED", "blessed"


def _slices(examples: types.Artifact, number: int) -> list[tf.train.Example]:
    files = sorted(tf.io.gfile.glob(f"{artifact_utils.get_split_uri([examples], TEST)}/*"))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").take(number)
    return [tf.train.Example.FromString(record) for record in records.as_numpy_iterator()]


def validate(
    model_path: str,
    examples: list[tf.train.Example],
    evaluated: dict[str, float],
    max_latency_ms: float,
    window: tuple[float, float],
) -> ServingOutcome:
    """Serve a model in another process, ask, compare and time.

    Args:
      model_path: the SavedModel.
      examples: CT examples that the evaluation has answers to.
      evaluated: those answers, probability by the slice's id.
      max_latency_ms: the longest that a request of one slice may take, at the median.
      window: HU of black and white in pictures.
    """
    outcome = ServingOutcome(None, len(examples))
    try:
        if not examples:
            raise UnservableModelError("the test split has no slice to ask about")
        with (
            candidate_server(model_path) as address,
            Client(address, timeout=ANSWER_SECONDS, retries=0) as client,
        ):
            warmed = send_warm_up_requests(address, model_path)
            answers = client.predict_examples(examples)
            largest = compare(examples, answers, evaluated)
            outcome = dataclasses.replace(outcome, largest_difference=largest)
            check_other_signatures(client, examples[:FEW], answers[:FEW], window)
            median = median_milliseconds(client, examples)
        logging.info(
            "the server answered %d warm-up requests and %d slices; a slice takes %.0f ms, and no "
            "probability is further than %.2g from the evaluation's",
            *(warmed, len(examples), median, largest),
        )
        outcome = dataclasses.replace(outcome, median_ms=median)
        if median > max_latency_ms:
            raise UnservableModelError(
                f"a slice takes {median:.0f} ms, more than serving.max_latency_ms "
                f"({max_latency_ms:g})"
            )
    except CtnetError as error:
        return dataclasses.replace(outcome, reason=" ".join(str(error).split()))
    return outcome


class Executor(base_executor.BaseExecutor):
    """Executor of ServingValidator."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Serve the model, ask, and bless what answers as it was evaluated."""
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        examples = _slices(
            artifact_utils.get_single_instance(input_dict["examples"]), exec_properties["questions"]
        )
        asked = {image_id(one) for one in examples}
        evaluation = Path(artifact_utils.get_single_uri(input_dict["evaluation"]))
        evaluated = {
            one.id: one.probability for one in read_predictions(evaluation) if one.id in asked
        }
        outcome = validate(
            path_utils.serving_model_path(model.uri),
            examples,
            evaluated,
            exec_properties["max_latency_ms"],
            (exec_properties["window_black"], exec_properties["window_white"]),
        )
        blessed = outcome.reason is None
        if not blessed:
            logging.error("the model is not pushed: %s", outcome.reason)
        outcome.write(blessing.uri)
        # What TFX's InfraValidator leaves, and its Pusher reads.
        (Path(blessing.uri) / (_BLESSED if blessed else _NOT_BLESSED)).touch()
        blessing.set_int_custom_property(_PROPERTY, int(blessed))
