"""What a candidate is asked, and what its answers must be like."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence

import grpc
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2, prediction_service_pb2_grpc

from components.serving_validator.candidate_server import UnservableModelError
from serving.client import Client, Prediction
from serving.message_size import MAX_MESSAGE_BYTES, size_options
from transform.ct_example import IMAGE_ID
from transform.prediction import WARM_UP_REQUESTS

TOLERANCE = 1e-4
"""How far a served probability may lie from the evaluation's; batches of other sizes round
differently."""

ANSWER_SECONDS = 120.0
"""That one request may take."""


def send_warm_up_requests(address: str, model_path: str) -> int:
    """Send the requests that the export brings along.

    Returns:
      How many there are.

    Raises:
      UnservableModelError: one is answered with an error.
    """
    path = f"{model_path}/{WARM_UP_REQUESTS}"
    if not tf.io.gfile.exists(path):
        return 0
    count = 0
    with grpc.insecure_channel(address, options=size_options(MAX_MESSAGE_BYTES)) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            try:
                stub.Predict(request, timeout=ANSWER_SECONDS)
            except grpc.RpcError as error:
                details = " ".join((error.details() or "").split())
                raise UnservableModelError(
                    f"a warm-up request of signature {request.model_spec.signature_name!r} is "
                    f"answered with {error.code().name}: {details}"
                ) from error
            count += 1
    return count


def image_id(example: tf.train.Example) -> str:
    """Which slice a CT example is."""
    return str(example.features.feature[IMAGE_ID].bytes_list.value[0].decode())


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


def compare(
    examples: Sequence[tf.train.Example],
    answers: Sequence[Prediction],
    evaluated: Mapping[str, float],
) -> float:
    """The largest difference between served and evaluated probabilities.

    Args:
      examples: CT examples.
      answers: of the server, one each.
      evaluated: probability by the slice's id.

    Raises:
      UnservableModelError: an answer is no answer, or not the evaluation's.
    """
    largest = 0.0
    for example, answer in zip(examples, answers, strict=True):
        check_answer(answer)
        name = image_id(example)
        if name not in evaluated:
            raise UnservableModelError(f"the evaluation has no prediction of slice {name}")
        difference = abs(answer.probability - evaluated[name])
        if difference > TOLERANCE:
            raise UnservableModelError(
                f"slice {name} is served the probability {answer.probability:.6f}, and the "
                f"evaluation had {evaluated[name]:.6f}"
            )
        largest = max(largest, difference)
    return largest


def median_milliseconds(client: Client, examples: Sequence[tf.train.Example]) -> float:
    """The median time of a request of one slice, milliseconds."""
    times = []
    for example in examples:
        begun = time.perf_counter()
        client.predict_examples([example])
        times.append(1000.0 * (time.perf_counter() - begun))
    return statistics.median(times)
