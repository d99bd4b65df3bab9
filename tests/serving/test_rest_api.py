"""TF Serving's REST API, asked of the embedded server or of a real TF Serving.

CTNET_TF_SERVING points the tests that use `endpoint` at a TF Serving; conftest.py says how.
"""

import base64
import contextlib
import http.client
import json
import re
import socket
import urllib.error
import urllib.parse
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.server import EmbeddedServer
from transform.prediction import (
    DECISION,
    IMAGE_BYTES,
    MODEL_NAME,
    PREDICT_IMAGE,
    PROBABILITY,
    THRESHOLD,
)

MODEL = f"/v1/models/{MODEL_NAME}"
METRICS = "/monitoring/prometheus/metrics"


def ask(url, content=None):
    """HTTP status and JSON of a GET, or of a POST where there is content."""
    data = content if content is None or isinstance(content, bytes) else json.dumps(content)
    data = data.encode() if isinstance(data, str) else data
    try:
        with urllib.request.urlopen(url, data, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


@pytest.fixture
def predict(endpoint):
    def post(content, path=f"{MODEL}:predict"):
        return ask(f"{endpoint.rest_url}{path}", content)

    return post


def test_rest_and_grpc_give_the_same_answer(endpoint, predict, picture):
    pictures = [picture(grey) for grey in (0, 33, 77, 130, 201, 255)]
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = PREDICT_IMAGE
    request.inputs[IMAGE_BYTES].CopyFrom(tf.make_tensor_proto(pictures))
    with grpc.insecure_channel(endpoint.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        outputs = stub.Predict(request, timeout=20).outputs
    expected = {alias: tf.make_ndarray(tensor) for alias, tensor in outputs.items()}
    asked = {"signature_name": PREDICT_IMAGE}

    status, columns = predict({**asked, "inputs": [b64(one) for one in pictures]})
    assert (status, set(columns["outputs"])) == (200, {PROBABILITY, DECISION, THRESHOLD})
    for alias, values in columns["outputs"].items():
        np.testing.assert_array_equal(np.array(values, expected[alias].dtype), expected[alias])

    named = [{IMAGE_BYTES: b64(one)} for one in pictures]
    for instances in ([b64(one) for one in pictures], named):
        status, rows = predict({**asked, "instances": instances})
        assert status == 200
        for alias, values in expected.items():
            column = np.array([row[alias] for row in rows["predictions"]], values.dtype)
            np.testing.assert_array_equal(column, values)


def test_a_single_output_needs_no_name(predict):
    asked = {"signature_name": "halve"}
    assert predict({**asked, "instances": [[1, 3.5], [0.2, 4]]}) == (
        200,
        {"predictions": [[0.5, 1.75], [0.1, 2.0]]},
    )
    assert predict({**asked, "inputs": {"values": [[1, 3]]}}) == (200, {"outputs": [[0.5, 1.5]]})


def test_a_version_can_be_asked_by_its_number(predict):
    content = {"signature_name": "halve", "instances": [[2, 4]]}
    assert predict(content, f"{MODEL}/versions/10:predict") == (200, {"predictions": [[1.0, 2.0]]})
    status, error = predict(content, f"{MODEL}/versions/4711:predict")
    assert (status, list(error)) == (404, ["error"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b"[]",
        {},
        {"instances": []},
        {"instances": 3},
        {"signature_name": "guess", "instances": [1]},
        {"signature_name": 3, "instances": [1]},
        {"signature_name": "halve", "instances": [[1, 2]], "inputs": [[1, 2]]},
        {"signature_name": "halve", "instances": [[1, 2, 3]]},
        {"signature_name": "halve", "instances": [[1, 2], [1]]},
        {"signature_name": "halve", "instances": [[1, [2]]]},
        {"signature_name": "halve", "instances": [["a", "b"]]},
        {"signature_name": "halve", "instances": [{"halves": [1, 2]}]},
        {"signature_name": "halve", "inputs": {"values": [[1, 2]], "more": 1}},
        {"signature_name": PREDICT_IMAGE, "instances": [{"b64": "###"}]},
        {"signature_name": PREDICT_IMAGE, "instances": [{"b64": "AAAA"}]},
        {"signature_name": PREDICT_IMAGE, "instances": [17]},
    ],
    ids=str,
)
def test_a_body_that_cannot_be_used_is_a_bad_request_with_its_reason(predict, content):
    status, error = predict(content)
    assert status == 400
    assert list(error) == ["error"]
    assert error["error"]


def test_an_unknown_model_is_not_found(endpoint, predict):
    assert predict({"instances": [1]}, "/v1/models/other:predict")[0] == 404
    status, error = ask(f"{endpoint.rest_url}/v1/models/other")
    assert (status, list(error)) == (404, ["error"])


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_a_predict_signature_neither_classifies_nor_regresses(predict, method):
    status, error = predict({"examples": [{"age": 60}]}, f"{MODEL}:{method}")
    assert status == 400
    assert "method_name" in error["error"]


def test_the_status_of_a_model_and_of_its_version(endpoint):
    for path in (MODEL, f"{MODEL}/versions/10"):
        status, content = ask(f"{endpoint.rest_url}{path}")
        assert status == 200
        (found,) = (one for one in content["model_version_status"] if one["version"] == "10")
        assert found["state"] == "AVAILABLE"
        assert found["status"] == {"error_code": "OK", "error_message": ""}


def test_metadata_has_every_signature(endpoint):
    status, content = ask(f"{endpoint.rest_url}{MODEL}/metadata")
    assert status == 200
    assert content["model_spec"]["version"] == "10"
    signatures = content["metadata"]["signature_def"]["signature_def"]
    assert signatures[PREDICT_IMAGE]["inputs"][IMAGE_BYTES]["dtype"] == "DT_STRING"


def samples(rest_url):
    """The value of every sample of the metrics, by its name and labels."""
    with urllib.request.urlopen(f"{rest_url}{METRICS}", timeout=20) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        lines = response.read().decode().splitlines()
    pattern = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{.*\})?) (\S+)")
    matches = [pattern.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(matches)
    return {match[1]: float(match[2]) for match in matches}


def test_metrics_count_requests_latencies_and_batches(model_dir):
    with EmbeddedServer(model_dir, port=0, rest_port=0) as server:
        url = f"{server.rest_url}{MODEL}:predict"
        for _ in range(3):
            assert ask(url, {"signature_name": "halve", "instances": [[1, 2], [3, 4]]})[0] == 200
        assert ask(url, {"signature_name": "guess", "instances": [1]})[0] == 400
        found = samples(server.rest_url)
    labels = f'model_name="{MODEL_NAME}",method="Predict",entrypoint="REST"'
    count = ":tensorflow:serving:request_count"
    assert found[f'{count}{{{labels},status="OK"}}'] == 3
    assert found[f'{count}{{{labels},status="INVALID_ARGUMENT"}}'] == 1
    latency = ":tensorflow:serving:request_latency"
    labels = f'model_name="{MODEL_NAME}",API="Predict",entrypoint="REST"'
    assert found[f"{latency}_count{{{labels}}}"] == 4
    assert found[f'{latency}_bucket{{{labels},le="+Inf"}}'] == 4
    assert 0 < found[f"{latency}_sum{{{labels}}}"] < 60e6
    batches = ":tensorflow:serving:batching_session:processed_batch_size"
    assert (found[f"{batches}_count"], found[f"{batches}_sum"]) == (3, 6)
    assert found[f'{batches}_bucket{{le="1"}}'] == 0
    assert found[f'{batches}_bucket{{le="2"}}'] == 3
    assert found[":tensorflow:serving:batching_session:queue_length"] == 0
    assert found[":tensorflow:serving:model_version"] == 10


@pytest.fixture(scope="module")
def small(model_dir):
    """A server that takes bodies of 1000 bytes."""
    with EmbeddedServer(model_dir, port=0, rest_port=0, max_message_bytes=1000) as server:
        yield server


@pytest.fixture
def wire(small):
    host = urllib.parse.urlsplit(small.rest_url)
    connection = http.client.HTTPConnection(host.hostname, host.port, timeout=20)
    yield connection
    connection.close()


def test_a_body_beyond_the_limit_is_refused(wire):
    wire.request("POST", f"{MODEL}:predict", b"x" * 200_000)
    response = wire.getresponse()
    assert response.status == 413
    assert "1000" in json.load(response)["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 411),
        ({"Content-Length": "many"}, 400),
        ({"Content-Length": "-1"}, 400),
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Content-Length": "2", "Content-Encoding": "gzip"}, 415),
        ({"Content-Length": "9999999", "Expect": "100-continue"}, 413),
    ],
)
def test_a_body_without_a_usable_length_is_refused(wire, headers, status):
    wire.putrequest("POST", f"{MODEL}:predict")
    for name, value in headers.items():
        wire.putheader(name, value)
    wire.endheaders()
    response = wire.getresponse()
    assert response.status == status
    assert json.load(response)["error"]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_other_methods_are_refused(wire, method):
    wire.request(method, MODEL)
    assert wire.getresponse().status == 405


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/nothing", 400), ("POST", MODEL, 400), ("PUT", f"{MODEL}:predict", 405)],
)
def test_what_nobody_answers_is_refused_before_its_body(wire, method, path, status):
    wire.putrequest(method, path)
    wire.putheader("Content-Length", "900")
    wire.endheaders()
    response = wire.getresponse()
    assert response.status == status
    assert response.getheader("Connection") == "close"


@pytest.mark.parametrize("method", ["predict", "PREDICT", "classify", "Regress"])
@pytest.mark.parametrize("which", ["", "/versions/10", "/labels/stable"])
def test_every_path_that_takes_a_body_gets_it(wire, method, which):
    wire.request("POST", f"{MODEL}{which}:{method}", b'{"signature_name": "nobody knows"')
    response = wire.getresponse()
    assert response.status in (400, 404)
    # Closed where the body was left unread.
    assert response.getheader("Connection") is None


def test_a_path_that_is_none_is_a_bad_request(small):
    for path in ("/", "/v1/models/", "/v2/models/ctnet", f"{MODEL}/versions/{10**30}"):
        assert ask(f"{small.rest_url}{path}")[0] == 400


def test_a_connection_answers_one_request_after_the_other(wire):
    content = json.dumps({"signature_name": "halve", "instances": [[2, 4]]})
    for _ in range(3):
        wire.request("POST", f"{MODEL}:predict", content)
        response = wire.getresponse()
        assert (response.status, json.load(response)) == (200, {"predictions": [[1.0, 2.0]]})


def test_what_is_no_http_ends_its_connection_and_no_other(small):
    host = urllib.parse.urlsplit(small.rest_url)
    for nonsense in (b"\x16\x03\x01nonsense\r\n\r\n", b"GET\r\n\r\n", b"x" * 100_000):
        # The server may be gone before all of it is said.
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host.hostname, host.port), timeout=20) as connection,
        ):
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert ask(f"{small.rest_url}{MODEL}")[0] == 200
