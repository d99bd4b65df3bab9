"""Requests that no client should send, while good ones go on: no crash, and memory stays flat.

CTNET_MALFORMED_REQUESTS sets how many are sent (300 where it is not set). CTNET_TF_SERVING points
these tests at a TF Serving; conftest.py says how.
"""

import io
import json
import os
import random
import re
import subprocess
import sys
import threading
import types
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.server import EmbeddedServer
from serving.server_options import BatchingOptions
from transform.ct_example import IMAGE, INTERCEPT, SLOPE, encode_png16
from transform.prediction import (
    EXAMPLES,
    IMAGE_BYTES,
    MODEL_NAME,
    PREDICT_IMAGE,
    PROBABILITY,
    SERVING_DEFAULT,
)

ROOT = Path(__file__).resolve().parents[2]

PREDICT = "/tensorflow.serving.PredictionService/Predict"

# After the first requests TensorFlow and the allocator have what they need.
ALLOWED_GROWTH_BYTES = 96 * 1024 * 1024

REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


# Decoded, a gigabyte in the graph.
BOMB_SIDE = 6000


def predict_request(signature, alias, values):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = signature
    request.inputs[alias].CopyFrom(tf.make_tensor_proto(values))
    return request


@pytest.fixture(scope="module")
def bombs():
    """Requests of a few kilobytes that hold 36 million pixels."""
    requests = {}
    for file_format in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        Image.new("L", (BOMB_SIDE, BOMB_SIDE)).save(buffer, file_format)
        requests[file_format] = predict_request(PREDICT_IMAGE, IMAGE_BYTES, [buffer.getvalue()])
    example = tf.train.Example()
    stored = encode_png16(np.zeros((BOMB_SIDE, BOMB_SIDE), np.uint16))
    example.features.feature[IMAGE].bytes_list.value.append(stored)
    for name in (SLOPE, INTERCEPT):
        example.features.feature[name].float_list.value.append(1.0)
    examples = [example.SerializeToString()] * 3
    requests["CT examples"] = predict_request(SERVING_DEFAULT, EXAMPLES, examples)
    return requests


def random_tensor(random_, picture):
    """A tensor that is wrong in dtype, shape or content most of the time."""
    tensor = tensor_pb2.TensorProto(
        dtype=random_.choice([*types_pb2.DataType.values(), 99, types_pb2.DT_STRING])
    )
    for _ in range(random_.choice([0, 1, 1, 1, 2, 3, 300])):
        tensor.tensor_shape.dim.add(
            size=random_.choice([-(2**63), -1, 0, 1, 2, 7, 2**31, 2**40, 2**62, 2**63 - 1])
        )
    tensor.tensor_shape.unknown_rank = random_.random() < 0.1
    kind = random_.randrange(5)
    if kind == 0:
        cut = random_.randrange(len(picture))
        tensor.string_val.append(picture[:cut])
    elif kind == 1:
        broken = bytearray(picture)
        for _ in range(5):
            broken[random_.randrange(len(broken))] = random_.randrange(256)
        tensor.string_val.extend([bytes(broken)] * random_.randrange(4))
    elif kind == 2:
        tensor.float_val.extend([float("nan"), 1e38, -1.0][: random_.randrange(4)])
    elif kind == 3:
        tensor.tensor_content = random_.randbytes(random_.randrange(64))
    return tensor


def random_request(random_, picture):
    """The bytes of a Predict request that no well-behaved client sends."""
    if random_.random() < 0.1:
        return random_.randbytes(random_.randrange(200))
    request = predict_pb2.PredictRequest()
    request.model_spec.name = random_.choice([MODEL_NAME] * 8 + ["", "other"])
    request.model_spec.signature_name = random_.choice(
        [PREDICT_IMAGE, PREDICT_IMAGE, "", "halve", "wrong", "\0" * 500]
    )
    if random_.random() < 0.1:
        request.model_spec.version.value = random_.choice([-1, 0, 11, 2**63 - 1])
    for _ in range(random_.choice([0, 1, 1, 1, 1, 2])):
        alias = random_.choice([IMAGE_BYTES, IMAGE_BYTES, EXAMPLES, "values", "x" * 2000])
        tensor = random_tensor(random_, picture)
        if random_.random() < 0.5:
            tensor.dtype = types_pb2.DT_STRING
            del tensor.tensor_shape.dim[:]
            tensor.tensor_shape.unknown_rank = False
            tensor.tensor_shape.dim.add(size=len(tensor.string_val))
        request.inputs[alias].CopyFrom(tensor)
    if random_.random() < 0.1:
        request.output_filter.extend(["nothing", PROBABILITY, PROBABILITY])
    encoded = request.SerializeToString()
    if random_.random() < 0.1:
        return encoded[: random_.randrange(len(encoded) + 1)]
    return encoded


def random_body(random_, picture):
    """The body of a REST request that no well-behaved client sends."""
    values = [None, True, -1, 1e400, float("nan"), 10**400, "x", [], {}, [[[]]], {"b64": "!"}]
    content = {
        random_.choice(["instances", "inputs", "signature_name"]): random_.choice(
            [
                *values,
                [random_.choice(values) for _ in range(3)],
                {"values": random_.choice(values)},
            ]
        )
        for _ in range(random_.randrange(3))
    }
    content.setdefault("signature_name", random_.choice(["halve", PREDICT_IMAGE, "wrong"]))
    body = json.dumps(content).encode()
    return body if random_.random() < 0.8 else body[: random_.randrange(len(body))]


def resident_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def assert_refused_for_its_size(error, *, embedded=True):
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    expected = "the picture has 6000 x 6000 pixels, more than the 16777216 that a slice may have"
    # TF Serving tells where in the graph, too.
    assert error.details() == expected if embedded else expected in error.details()


def torment(tormented, picture, bombs, *, count, seed=0):
    """Send malformed requests over gRPC and REST, one in twenty of them from `bombs`.

    Returns:
      How often each status came; 200 and OK are those that were well-formed by accident.
    """
    random_ = random.Random(seed)
    statuses = {}
    with grpc.insecure_channel(tormented.address) as channel:
        call = channel.unary_unary(PREDICT)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for at in range(count):
            if bombs and at % 20 == 0:
                with pytest.raises(grpc.RpcError) as raised:
                    stub.Predict(random_.choice(list(bombs.values())), timeout=30)
                assert_refused_for_its_size(raised.value, embedded=tormented.embedded)
                status = raised.value.code()
            elif at % 5 == 4:
                body = random_body(random_, picture)
                try:
                    url = f"{tormented.rest_url}/v1/models/{MODEL_NAME}:predict"
                    status = urllib.request.urlopen(url, body, timeout=30).status
                except urllib.error.HTTPError as error:
                    status = error.code
            else:
                try:
                    call(random_request(random_, picture), timeout=30)
                    status = grpc.StatusCode.OK
                except grpc.RpcError as error:
                    status = error.code()
            statuses[status] = statuses.get(status, 0) + 1
    return statuses


@pytest.fixture
def tormented(endpoint, model_dir):
    """A server in a process of its own, whose memory is its alone; or TF Serving (see conftest)."""
    if not endpoint.embedded:
        yield endpoint
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", str(model_dir), "--port", "0", "--rest-port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline().split()[-1]
        rest_url = process.stdout.readline().split()[-1].split("/v1/")[0]
        yield types.SimpleNamespace(
            address=address, rest_url=rest_url, embedded=True, process=process
        )
        assert process.poll() is None
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_malformed_requests_harm_nobody(tormented, picture, bombs):
    count = int(os.environ.get("CTNET_MALFORMED_REQUESTS", "300"))
    stop, good, failed = threading.Event(), [], []

    def ask_properly():
        request = predict_request(PREDICT_IMAGE, IMAGE_BYTES, [picture(255)])
        with grpc.insecure_channel(tormented.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not stop.is_set():
                try:
                    outputs = stub.Predict(request, timeout=30).outputs
                    good.append(list(outputs[PROBABILITY].float_val))
                except grpc.RpcError as error:
                    failed.append(error)

    client = threading.Thread(target=ask_properly)
    client.start()
    try:
        torment(tormented, picture(51), {}, count=100, seed=1)
        before = resident_bytes(tormented.process.pid) if tormented.embedded else 0
        statuses = torment(tormented, picture(51), bombs, count=count)
        growth = resident_bytes(tormented.process.pid) - before if tormented.embedded else 0
    finally:
        stop.set()
        client.join()
    assert failed == []
    assert good
    assert all(answer == [1.0] for answer in good)
    codes = {status for status in statuses if isinstance(status, grpc.StatusCode)}
    assert grpc.StatusCode.INVALID_ARGUMENT in codes
    assert codes <= REFUSALS | {grpc.StatusCode.OK}
    assert set(statuses) - codes <= {200, 400, 404}
    print(f"{count} malformed requests: {statuses}; memory grew by {growth / 2**20:.1f} MiB")
    assert growth < ALLOWED_GROWTH_BYTES


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_of_too_many_pixels_fails_its_own_call_alone(model_dir, picture, bombs, kind):
    # The three calls make one full batch, which is what each of them waits for.
    batching = BatchingOptions(max_batch_size=3, delay_seconds=60.0)
    with (
        EmbeddedServer(model_dir, port=0, rest_port=0, batching=batching) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        good = [
            stub.Predict.future(
                predict_request(PREDICT_IMAGE, IMAGE_BYTES, [picture(grey)]), timeout=50
            )
            for grey in (0, 255)
        ]
        refused = stub.Predict.future(bombs[kind], timeout=50)
        answers = [list(call.result().outputs[PROBABILITY].float_val) for call in good]
        assert answers == [[0.0], [1.0]]
        assert_refused_for_its_size(refused.exception())


def test_a_request_of_bombs_alone_is_refused_for_their_size(endpoint, bombs):
    """Whichever of them the graph comes upon first, or several at once."""
    for request in bombs.values():
        many = predict_pb2.PredictRequest()
        many.CopyFrom(request)
        for tensor in many.inputs.values():
            tensor.string_val.extend(list(tensor.string_val) * 7)
            tensor.tensor_shape.dim[0].size = len(tensor.string_val)
        with grpc.insecure_channel(endpoint.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            with pytest.raises(grpc.RpcError) as raised:
                stub.Predict(many, timeout=60)
        assert_refused_for_its_size(raised.value, embedded=endpoint.embedded)
