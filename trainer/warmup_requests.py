"""Requests that a server answers to itself before it takes others, so that those need not wait.

TensorFlow Serving replays them from `assets.extra` when it loads a version
(tensorflow_serving/servables/tensorflow/saved_model_warmup_util.h). The slices are synthetic: a
model leaves the house with no patient's picture in it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from transform import prediction
from transform.ct_example import SliceFacts, StoredSlice, make_example
from transform.phantom.patient import draw_patient
from transform.phantom.render import render_slice

_SEED = 20200401
_SIDE = 512
_LEVELS = 8
_AIR = -1024.0
# One as a person asks, and as many as a client or a batching server sends at once.
_BATCHES = (1, 16)


def _hounsfield(number: int) -> np.ndarray:
    """A synthetic slice, int [side, side], HU."""
    patient = draw_patient(_SEED, number, "moderate")
    return render_slice(patient, _LEVELS // 2, _LEVELS, _SIDE).hu.astype(int)


def _ct_example(hounsfield: np.ndarray, number: int) -> bytes:
    stored = np.clip(hounsfield - _AIR, 0, 4095).astype(np.uint16)
    facts = SliceFacts(f"synthetic-{number}")
    return make_example(StoredSlice(stored, 1.0, _AIR, True), facts).SerializeToString()


def _picture(hounsfield: np.ndarray, window: tuple[float, float]) -> bytes:
    low, high = window
    grey = np.clip((hounsfield - low) / (high - low), 0.0, 1.0) * 255.0
    buffer = io.BytesIO()
    Image.fromarray(np.rint(grey).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _logged(signature: str, argument: str, values: Sequence[bytes]) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = prediction.MODEL_NAME
    request.model_spec.signature_name = signature
    request.inputs[argument].CopyFrom(tf.make_tensor_proto(values, tf.string))
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log.SerializeToString()


def warmup_requests(window: tuple[float, float]) -> Iterator[bytes]:
    """Serialised PredictionLogs: each signature that clients ask, with one slice and with several.

    Args:
      window: HU of black and white in pictures.
    """
    slices = [_hounsfield(number) for number in range(2)]
    examples = [_ct_example(one, number) for number, one in enumerate(slices)]
    pictures = [_picture(one, window) for one in slices]
    for signature, argument, values in (
        (prediction.SERVING_DEFAULT, prediction.EXAMPLES, examples),
        (prediction.PREDICT_IMAGE, prediction.IMAGE_BYTES, pictures),
    ):
        for size in _BATCHES:
            yield _logged(signature, argument, (values * size)[:size])
    yield _logged(prediction.EXPLAIN, prediction.EXAMPLES, examples[:1])
    yield _logged(prediction.EXPLAIN_IMAGE, prediction.IMAGE_BYTES, pictures[:1])


def write_warmup_requests(saved_model: str, window: tuple[float, float]) -> None:
    """Write the file into a SavedModel's folder, on any file system that TensorFlow knows."""
    path = f"{saved_model}/{prediction.WARM_UP_REQUESTS}"
    tf.io.gfile.makedirs(path.rsplit("/", 1)[0])
    with tf.io.TFRecordWriter(path) as writer:
        for request in warmup_requests(window):
            writer.write(request)
