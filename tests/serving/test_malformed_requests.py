"""Requests that no client should send, while good ones go on: no crash, and memory stays flat.

CTNET_MALFORMED_REQUESTS sets how many are sent (300 where it is not set).
"""

import json
import os
import random
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from transform.prediction import EXAMPLES, IMAGE_BYTES, MODEL_NAME, PREDICT_IMAGE, PROBABILITY

ROOT = Path(__file__).resolve().parents[2]

PREDICT = "/tensorflow.serving.PredictionService/Predict"

# After the first requests TensorFlow and the allocator have what they need.
ALLOWED_GROWTH_BYTES = 96 * 1024 * 1024

REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


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


def torment(address, rest_url, picture, *, count, seed=0):
    """Send malformed requests over gRPC and REST.

    Returns:
      How often each status came; 200 and OK are those that were well-formed by accident.
    """
    random_ = random.Random(seed)
    statuses = {}
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(PREDICT)
        for at in range(count):
            if at % 5 == 4:
                body = random_body(random_, picture)
                try:
                    url = f"{rest_url}:predict"
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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_malformed_requests_harm_nobody(model_dir, picture):
    count = int(os.environ.get("CTNET_MALFORMED_REQUESTS", "300"))
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", str(model_dir), "--port", "0", "--rest-port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stop, good, failed = threading.Event(), [], []

    def ask_properly(address):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = MODEL_NAME
        request.model_spec.signature_name = PREDICT_IMAGE
        request.inputs[IMAGE_BYTES].CopyFrom(tf.make_tensor_proto([picture(255)]))
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not stop.is_set():
                try:
                    outputs = stub.Predict(request, timeout=30).outputs
                    good.append(list(outputs[PROBABILITY].float_val))
                except grpc.RpcError as error:
                    failed.append(error)

    try:
        address = process.stdout.readline().split()[-1]
        rest_url = process.stdout.readline().split()[-1]
        client = threading.Thread(target=ask_properly, args=(address,))
        client.start()
        torment(address, rest_url, picture(51), count=100, seed=1)
        before = resident_bytes(process.pid)
        statuses = torment(address, rest_url, picture(51), count=count)
        growth = resident_bytes(process.pid) - before
        stop.set()
        client.join()
        assert process.poll() is None
    finally:
        stop.set()
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert failed == []
    assert good
    assert all(answer == [1.0] for answer in good)
    codes = {status for status in statuses if isinstance(status, grpc.StatusCode)}
    assert grpc.StatusCode.INVALID_ARGUMENT in codes
    assert codes <= REFUSALS | {grpc.StatusCode.OK}
    assert set(statuses) - codes <= {200, 400, 404}
    print(f"{count} malformed requests: {statuses}; memory grew by {growth / 2**20:.1f} MiB")
    assert growth < ALLOWED_GROWTH_BYTES
