"""A tiny model whose answers can be worked out by hand, and a server that serves it.

Tests that use `endpoint` know the server only by its protocols. They ask the embedded server, or a
TensorFlow Serving where the environment names one:

    CTNET_TF_SERVING=HOST:GRPC_PORT,HOST:REST_PORT,MODEL_DIR

The tiny model is then exported to MODEL_DIR/ctnet, which that server must watch under the name
`ctnet` (`--model_name=ctnet --model_base_path=MODEL_DIR/ctnet`).
"""

import io
import os
import time
import types
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.python.framework.config import disable_op_determinism
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.message_size import MAX_MESSAGE_BYTES, size_options
from serving.server import EmbeddedServer
from transform.ct_example import IMAGE, INTERCEPT, SLOPE
from transform.hounsfield import scaled_slices
from transform.picture_graph import decode_picture
from transform.prediction import (
    DECISION,
    EXAMPLES,
    IMAGE_BYTES,
    MODEL_NAME,
    PREDICT_IMAGE,
    PROBABILITY,
    SERVING_DEFAULT,
    THRESHOLD,
)

# The side of pydicom's CT_small.dcm, so that the resize changes nothing.
SIDE = 128


class MeanGrey(tf.Module):
    """Says that the probability is the mean grey level, black 0 and white 1."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = tf.Variable(threshold, dtype=tf.float32)

    def _outputs(self, probability):
        return {
            PROBABILITY: probability,
            DECISION: tf.cast(probability >= self.threshold, tf.int64),
            THRESHOLD: tf.fill(tf.shape(probability), self.threshold),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def predict_examples(self, examples):
        number = tf.io.FixedLenFeature([], tf.float32)
        features = tf.io.parse_example(
            examples,
            {IMAGE: tf.io.FixedLenFeature([], tf.string), SLOPE: number, INTERCEPT: number},
        )
        image = scaled_slices(
            features[IMAGE],
            features[SLOPE],
            features[INTERCEPT],
            hu_min=-1000.0,
            hu_max=400.0,
            size=SIDE,
        )
        return self._outputs(tf.reduce_mean(image, axis=[1, 2, 3]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)])
    def predict_image(self, image_bytes):
        def mean_grey(encoded):
            grey, white = decode_picture(encoded)
            return tf.reduce_mean(tf.cast(grey, tf.float32)) / white

        return self._outputs(tf.map_fn(mean_grey, image_bytes, fn_output_signature=tf.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="values")])
    def halve(self, values):
        return {"halves": values / 2.0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="seconds")])
    def wait(self, seconds):
        """Takes the longest of the wanted times, and tells how many rows were computed together."""
        end = tf.timestamp() + tf.cast(tf.reduce_max(seconds), tf.float64)
        (waited,) = tf.while_loop(
            lambda turns: tf.timestamp() < end, lambda turns: (turns + 1,), (tf.constant(0),)
        )
        # The outputs hang on the loop, so that it is not left out of the graph.
        with tf.control_dependencies([waited]):
            rows = tf.fill(tf.shape(seconds), tf.size(seconds))
        return {"seconds": seconds + 0.0 * tf.cast(waited, tf.float32), "rows": rows}


def export(folder, threshold):
    model = MeanGrey(threshold)
    signatures = {
        SERVING_DEFAULT: model.predict_examples,
        PREDICT_IMAGE: model.predict_image,
        "halve": model.halve,
        "wait": model.wait,
    }
    tf.saved_model.save(model, str(folder), signatures=signatures)


@pytest.fixture(autouse=True)
def whatever_training_switched_on():
    """A server's process never trains; this one may have, and then tf.timestamp is refused."""
    disable_op_determinism()


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """Versions 2 and 10 whole, 11 half-written, and the leavings of writers."""
    folder = tmp_path_factory.mktemp("ctnet")
    export(folder / "2", threshold=0.25)
    export(folder / "10", threshold=0.5)
    (folder / "11" / "variables").mkdir(parents=True)
    for name in ("_temp_12", "12.tmp", ".12", "-12", "twelve"):
        (folder / name).mkdir()
        (folder / name / "saved_model.pb").write_bytes(b"unfinished")
    (folder / "13").write_text("a file, not a folder")
    return folder


@pytest.fixture(scope="session")
def server(model_dir):
    with EmbeddedServer(model_dir, port=0, rest_port=0) as running:
        yield running


@pytest.fixture(scope="session")
def export_model():
    """Writes the tiny model with a threshold to a folder."""
    return export


def _wait_for(address, version):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = MODEL_NAME
    end = time.monotonic() + 60
    while True:
        with grpc.insecure_channel(address) as channel:
            try:
                response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
                    request, timeout=5
                )
                if any(
                    (one.version, one.state) == (version, one.AVAILABLE)
                    for one in response.model_version_status
                ):
                    return
            except grpc.RpcError:
                pass
        assert time.monotonic() < end, f"version {version} does not come up at {address}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def endpoint(request):
    """Addresses of a server of version 10: `address`, `rest_url`; the embedded one or another."""
    named = os.environ.get("CTNET_TF_SERVING")
    if not named:
        server = request.getfixturevalue("server")
        return types.SimpleNamespace(
            address=server.address, rest_url=server.rest_url, embedded=True
        )
    address, rest_address, folder = named.split(",", 2)
    version = Path(folder) / MODEL_NAME / "10"
    if not version.exists():
        version.parent.mkdir(parents=True, exist_ok=True)
        export(version.parent / "_temp_10", threshold=0.5)
        (version.parent / "_temp_10").rename(version)
    _wait_for(address, 10)
    return types.SimpleNamespace(address=address, rest_url=f"http://{rest_address}", embedded=False)


@pytest.fixture(scope="session")
def channel(server):
    with grpc.insecure_channel(
        server.address, options=size_options(MAX_MESSAGE_BYTES)
    ) as connected:
        yield connected


@pytest.fixture(scope="session")
def predictions(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="session")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def encoded_picture(grey, file_format="PNG", side=32):
    """A picture of one grey level."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side), grey, np.uint8)).save(buffer, format=file_format)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def picture():
    return encoded_picture
