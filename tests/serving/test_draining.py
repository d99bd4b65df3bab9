"""SIGTERM: what was accepted is answered, nothing new is taken, and the process ends with 0."""

import collections
import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.listening import listen_address
from serving.rest_api import Response
from serving.rest_server import RestServer
from transform.prediction import MODEL_NAME

ROOT = Path(__file__).resolve().parents[2]
SERVE = (sys.executable, "-m", "serving")
QUEUE_LENGTH = ":tensorflow:serving:batching_session:queue_length"
BATCHES = ":tensorflow:serving:batching_session:processed_batch_size_count"
BATCHES_OF_ONE_ROW = ':tensorflow:serving:batching_session:processed_batch_size_bucket{le="1"}'


def wait_request(*seconds):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = "wait"
    request.inputs["seconds"].CopyFrom(tf.make_tensor_proto(seconds))
    return request


def until(rest_url, name, value):
    """Wait until a metric has a value."""
    url = rest_url.split("/v1/")[0] + "/monitoring/prometheus/metrics"
    end = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(url, timeout=30) as response:
            if f"{name} {value}" in response.read().decode().splitlines():
                return
        assert time.monotonic() < end, f"{name} does not become {value}"
        time.sleep(0.02)


@pytest.mark.slow
def test_sigterm_answers_what_was_accepted_over_grpc_and_rest(model_dir):
    process = subprocess.Popen(
        [*SERVE, str(model_dir), "--port=0", "--rest-port=0", "--batch-threads=1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    rest_answers = []

    def ask_rest(url):
        body = json.dumps({"signature_name": "wait", "inputs": [0.5]}).encode()
        with urllib.request.urlopen(f"{url}:predict", body, timeout=60) as response:
            rest_answers.append((response.status, json.load(response)["outputs"]["seconds"]))

    try:
        address = process.stdout.readline().split()[-1]
        rest_url = process.stdout.readline().split()[-1]
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            computed = stub.Predict.future(wait_request(5.0), timeout=60)
            until(rest_url, BATCHES, 1)
            queued = stub.Predict.future(wait_request(0.25), timeout=60)
            asking = threading.Thread(target=ask_rest, args=(rest_url,))
            asking.start()
            until(rest_url, QUEUE_LENGTH, 2)
            process.send_signal(signal.SIGTERM)
            # Refused once the signal has arrived; answered, as it is short, until then.
            end = time.monotonic() + 30
            while True:
                try:
                    urllib.request.urlopen(rest_url, timeout=30).close()
                except (urllib.error.URLError, OSError):
                    break
                assert time.monotonic() < end
            with pytest.raises(grpc.RpcError) as info:
                stub.Predict(wait_request(0.0), timeout=30)
            assert info.value.code() == grpc.StatusCode.UNAVAILABLE
            assert list(computed.result().outputs["seconds"].float_val) == [5.0]
            assert list(queued.result().outputs["seconds"].float_val) == [0.25]
            asking.join(60)
            assert rest_answers == [(200, [0.5])]
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_stop_under_load_gives_whole_answers_or_closes_the_connection():
    statuses = collections.Counter()

    def ask_until_closed(port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with (
            contextlib.closing(connection),
            contextlib.suppress(ConnectionError, http.client.HTTPException),
        ):
            while True:
                connection.request("POST", "/", b"{}")
                response = connection.getresponse()
                response.read()
                statuses[response.status] += 1
                if response.getheader("Connection") == "close":
                    break
                # Else each connection would be busy all the time.
                time.sleep(0.001)

    for _ in range(30):
        server = RestServer(
            listen_address("127.0.0.1", 0), lambda *_: Response(200, b"{}"), max_body_bytes=1000
        )
        server.start()
        clients = [
            threading.Thread(target=ask_until_closed, args=(server.port,)) for _ in range(16)
        ]
        for client in clients:
            client.start()
        begun = time.monotonic()
        while statuses.total() < 100:
            assert time.monotonic() - begun < 30
            time.sleep(0.001)
        server.stop(20)
        assert time.monotonic() - begun < 50
        for client in clients:
            client.join(40)
            assert not client.is_alive()
        assert set(statuses) == {200}
        statuses.clear()


@pytest.mark.slow
def test_sigterm_ends_a_request_of_many_rows_that_cannot_be_answered_in_time(model_dir):
    process = subprocess.Popen(
        [*SERVE, str(model_dir), "--port=0", "--rest-port=0", "--max-batch-size=2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline().split()[-1]
        rest_url = process.stdout.readline().split()[-1]
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            endless = stub.Predict.future(wait_request(*[2.0] * 400))
            until(rest_url, BATCHES, 1)
            short = stub.Predict.future(wait_request(1.0))
            until(rest_url, BATCHES_OF_ONE_ROW, 1)
            process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            assert list(short.result().outputs["seconds"].float_val) == [1.0]
            with pytest.raises(grpc.RpcError):
                endless.result()
        _, errors = process.communicate(timeout=60)
        # All the rows would take more than six minutes.
        assert time.monotonic() - begun < 40
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in errors
