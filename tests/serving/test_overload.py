"""More than the server can hold is refused, over gRPC and REST, and health is told meanwhile."""

import contextlib
import json
import queue
import threading
import time
import urllib.error
import urllib.request

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.pending_bytes import PendingBytes
from serving.request_error import RequestError
from serving.server import EmbeddedServer
from serving.server_metrics import ServerMetrics
from serving.server_options import BatchingOptions
from transform.prediction import MODEL_NAME

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def test_a_request_is_counted_until_it_is_answered():
    pending = PendingBytes(100)
    with pending.claim(60), pending.arriving() as growing:
        growing.add(40)
        with pytest.raises(RequestError) as info:
            growing.add(1)
        assert info.value.code == EXHAUSTED
        growing.arrived()
        with pytest.raises(RequestError), pending.claim(1):
            pass
    with pending.claim(100), pytest.raises(RequestError), pending.claim(1):
        pass
    with pending.claim(100):
        pass


def test_a_request_that_is_alone_may_be_larger_than_the_budget():
    pending = PendingBytes(100)
    with pending.claim(500):
        with pytest.raises(RequestError), pending.claim(1):
            pass
        with pending.claim(0):
            pass
    with pending.arriving() as alone:
        alone.add(300)
        alone.add(200)
        alone.arrived()
        with pytest.raises(RequestError), pending.claim(1):
            pass
    with pending.claim(100):
        pass


def test_requests_that_are_arriving_leave_half_of_the_budget_to_the_others():
    pending = PendingBytes(100)
    with pending.arriving() as first, pending.arriving() as second:
        first.add(30)
        second.add(20)
        with pytest.raises(RequestError, match="arriving"):
            second.add(1)
        with pending.claim(50), pytest.raises(RequestError, match="pending"), pending.claim(1):
            pass
        first.arrived()
        second.add(30)
    with pending.claim(100):
        pass


def test_a_large_request_that_came_in_alone_is_refused_where_others_came_meanwhile():
    pending = PendingBytes(100)
    with pending.arriving() as large:
        large.add(500)
        with pending.claim(50), pytest.raises(RequestError):
            large.arrived()
        large.arrived()
    with pending.claim(100):
        pass


def wait_request(seconds):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = "wait"
    request.inputs["seconds"].CopyFrom(tf.make_tensor_proto(seconds))
    return request


def health_of(channel):
    """The status number of the gRPC health protocol, by its wire format."""
    answer = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30)
    return answer[1] if answer else 0


def until(server, sample):
    """Wait until the metrics have a line."""
    end = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(
            f"{server.rest_url}/monitoring/prometheus/metrics", timeout=30
        ) as response:
            if sample in response.read().decode().splitlines():
                return
        assert time.monotonic() < end, f"no line {sample}"
        time.sleep(0.01)


BATCHES = ":tensorflow:serving:batching_session:processed_batch_size_count"
QUEUE_LENGTH = ":tensorflow:serving:batching_session:queue_length"


@pytest.fixture
def go(monkeypatch):
    """Batches of servers that are started from now on are counted, but wait for this."""
    event = threading.Event()
    count = ServerMetrics.observe_batch

    def count_and_wait(self, rows):
        count(self, rows)
        assert event.wait(60)

    monkeypatch.setattr(ServerMetrics, "observe_batch", count_and_wait)
    yield event
    event.set()


def test_grpc_and_rest_share_one_budget_of_bytes(model_dir, go):
    batching = BatchingOptions(threads=1, max_batch_size=400)
    # 300 numbers are 1200 bytes.
    large, small = [0.0] * 300, [0.0]
    with (
        EmbeddedServer(
            model_dir, port=0, rest_port=0, batching=batching, max_pending_bytes=2000
        ) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def ask_rest(values):
            body = json.dumps({"signature_name": "wait", "inputs": values}).encode()
            url = f"{server.rest_url}/v1/models/{MODEL_NAME}:predict"
            try:
                with urllib.request.urlopen(url, body, timeout=30) as response:
                    return response.status, json.load(response)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)

        computed = stub.Predict.future(wait_request([0.0, *large]), timeout=60)
        until(server, f"{BATCHES} 1")
        with pytest.raises(grpc.RpcError) as info:
            stub.Predict(wait_request(large), timeout=30)
        assert info.value.code() == EXHAUSTED
        assert "pending" in info.value.details()
        status, error = ask_rest(large)
        assert status == 429
        assert "pending" in error["error"]
        waiting = stub.Predict.future(wait_request(small), timeout=60)
        until(server, f"{QUEUE_LENGTH} 1")
        go.set()
        assert len(computed.result().outputs["seconds"].float_val) == 301
        assert len(waiting.result().outputs["seconds"].float_val) == 1
        assert len(stub.Predict(wait_request(large), timeout=30).outputs["rows"].int_val) == 300
        assert ask_rest(large)[0] == 200


@pytest.fixture
def tiny(model_dir, go):
    """A server of one thread and one place to wait, and its channel."""
    batching = BatchingOptions(threads=1, max_batch_size=1, max_queued=1)
    with (
        EmbeddedServer(model_dir, port=0, rest_port=0, batching=batching) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield server, channel


def test_health_is_told_while_predictions_are_refused(tiny, go):
    server, channel = tiny
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    computed = stub.Predict.future(wait_request([0.0]), timeout=60)
    until(server, f"{BATCHES} 1")
    waiting = stub.Predict.future(wait_request([0.0]), timeout=60)
    until(server, f"{QUEUE_LENGTH} 1")
    refused = [stub.Predict.future(wait_request([0.0]), timeout=60) for _ in range(10)]
    assert health_of(channel) == 1
    for call in refused:
        assert call.exception().code() == EXHAUSTED
    assert health_of(channel) == 1
    go.set()
    assert [list(call.result().outputs["rows"].int_val) for call in (computed, waiting)] == [
        [1]
    ] * 2


def test_calls_that_never_send_their_message_do_not_pile_up(tiny):
    _, channel = tiny
    unsent = queue.Queue()
    calls = []
    try:
        end = time.monotonic() + 30
        # Each of these waits for a message in a thread of the server, or for the thread.
        while not any(call.done() for call in calls):
            assert time.monotonic() < end
            assert len(calls) < 100
            calls.append(channel.stream_unary(PREDICT).future(iter(unsent.get, None), timeout=60))
            with contextlib.suppress(grpc.FutureTimeoutError):
                calls[-1].exception(timeout=0.05)
        (refused,) = (call for call in calls if call.done())
        assert refused.code() == EXHAUSTED
    finally:
        for call in calls:
            call.cancel()
            unsent.put(None)
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(grpc.RpcError):
            assert health_of(channel) == 1
            break
        assert time.monotonic() < end
        time.sleep(0.05)
