"""What a candidate is asked, and what its answers must be like."""

from __future__ import annotations

import io
import math
import statistics
import time
from collections.abc import Mapping, Sequence

import grpc
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2, prediction_service_pb2_grpc

from components.serving_validator.candidate_server import UnservableModelError
from serving.client import Client
from serving.message_size import MAX_MESSAGE_BYTES, size_options
from serving.slice_result import Explanation, Prediction
from transform.ct_example import (
    IMAGE_ID,
    SliceFacts,
    StoredSlice,
    make_example,
    stored_slice_of,
)
from transform.prediction import (
    EXPLAIN,
    EXPLAIN_IMAGE,
    PREDICT_IMAGE,
    SERVING_DEFAULT,
    TRANSFORM_FEATURES,
    WARM_UP_REQUESTS,
)
from transform.reading.picture import window_rescale

TOLERANCE = 1e-4
"""How far a served probability may lie from the evaluation's; batches of other sizes round
differently."""

ANSWER_SECONDS = 120.0
"""That one request may take."""

FEW = 2
"""Slices that the signatures besides `serving_default` are asked about, one request each."""

_WHITE = 255


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


def as_picture(
    example: tf.train.Example, window: tuple[float, float]
) -> tuple[bytes, tf.train.Example]:
    """A slice as an 8-bit picture under a window, and as the CT example of that very picture.

    Args:
      example: CT example.
      window: HU of black and white.

    Returns:
      A PNG; and a CT example of its stored values, slope and intercept, as ingesting it would give.
    """
    low, high = window
    hounsfield = stored_slice_of(example).hounsfield()
    grey = np.rint(np.clip((hounsfield - low) / (high - low), 0.0, 1.0) * _WHITE)
    buffer = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(buffer, "PNG")
    ingested = StoredSlice(grey.astype(np.uint16), *window_rescale(window, _WHITE), False)
    return buffer.getvalue(), make_example(ingested, SliceFacts(image_id(example)))


def check_other_signatures(
    client: Client,
    examples: Sequence[tf.train.Example],
    answers: Sequence[Prediction],
    window: tuple[float, float],
) -> None:
    """Whether the other signatures that an export has answer as `serving_default` does.

    `explain` is asked about the same CT examples. A picture cannot hold a slice's true Hounsfield
    units, so that `predict_image` and `explain_image` are asked about the slices as 8-bit pictures
    under the run's window, and `serving_default` about the CT examples of these very pictures:
    what the network then sees has the same stored values, slope and intercept. For slices that were
    ingested from 8-bit pictures it is what was evaluated.

    Args:
      client: of the server.
      examples: a few CT examples.
      answers: of `serving_default` to them.
      window: HU of black and white in pictures.

    Raises:
      UnservableModelError: an answer is no answer, or another one.
      CtnetError: the server does not answer, or a heat map is not what it should be.
    """
    names = [image_id(one) for one in examples]
    signatures = client.signatures()
    if EXPLAIN in signatures:
        explained = client.explain_examples(examples)
        _check_side(client, EXPLAIN, explained)
        _agree(EXPLAIN, names, [one.prediction for one in explained], answers)
    if not {PREDICT_IMAGE, EXPLAIN_IMAGE} & set(signatures):
        return
    pictures, ingested = zip(*(as_picture(one, window) for one in examples), strict=True)
    expected = client.predict_examples(ingested)
    if PREDICT_IMAGE in signatures:
        _agree(PREDICT_IMAGE, names, client.predict_pictures(pictures), expected)
    if EXPLAIN_IMAGE in signatures:
        explained = client.explain_pictures(pictures)
        _check_side(client, EXPLAIN_IMAGE, explained)
        _agree(EXPLAIN_IMAGE, names, [one.prediction for one in explained], expected)


def _agree(
    signature: str,
    names: Sequence[str],
    answers: Sequence[Prediction],
    expected: Sequence[Prediction],
) -> None:
    for name, answer, other in zip(names, answers, expected, strict=True):
        try:
            check_answer(answer)
        except UnservableModelError as error:
            raise UnservableModelError(f"of signature {signature!r}, {error}") from error
        for what, one, two in (
            ("probability", answer.probability, other.probability),
            ("threshold", answer.threshold, other.threshold),
        ):
            # So that NaN is no agreement.
            if not abs(one - two) <= TOLERANCE:
                raise UnservableModelError(
                    f"signature {signature!r} gives slice {name} the {what} {one:.6f}, and "
                    f"{SERVING_DEFAULT!r} gives {two:.6f} for the same pixels"
                )


def _check_side(client: Client, signature: str, explained: Sequence[Explanation]) -> None:
    """Whether heat maps have the side of the network's input; the client looks at their range."""
    seen = client.signatures().get(TRANSFORM_FEATURES)
    if seen is None:
        return
    (image,) = seen.outputs.values()
    side = image.tensor_shape.dim[1].size
    for one in explained:
        if one.heatmap.shape != (side, side):
            raise UnservableModelError(
                f"signature {signature!r} gives a heat map of {one.heatmap.shape} for an input of "
                f"{side} by {side}"
            )
