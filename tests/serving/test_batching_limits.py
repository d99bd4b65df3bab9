"""A call of very many rows holds a batch thread no longer than its answer is wanted."""

import threading
import time
import urllib.request
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.batching import Batcher
from serving.call_limits import NO_LIMITS, CallLimits
from serving.request_error import RequestError
from serving.server import EmbeddedServer
from serving.server_options import BatchingOptions
from transform.prediction import MODEL_NAME

ROWS = {"values": np.arange(10.0)}


class Steps:
    """A model that computes a part only when it is let."""

    def __init__(self):
        self.parts = 0
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, inputs):
        self.parts += 1
        self.begun.set()
        assert self.go.wait(30)
        return inputs


class Deadline(CallLimits):
    """One that passes when it is told to; nobody waits for it."""

    passed = False

    def expired(self):
        return self.passed


@pytest.fixture
def steps():
    made = Steps()
    yield made
    made.go.set()


@pytest.fixture
def batcher(steps):
    made = Batcher(BatchingOptions(max_batch_size=2, max_request_rows=10, threads=1))
    yield made
    steps.go.set()
    made.close(30)


@pytest.fixture
def ask(batcher, steps):
    """Asks in a thread of its own, and gives the future of the answer."""
    with futures.ThreadPoolExecutor(4) as pool:

        def asked(limits=NO_LIMITS, inputs=ROWS):
            rows = len(inputs["values"])
            return pool.submit(batcher.run, "key", steps, inputs, rows, limits)

        yield asked
        # A caller who still waits would hold up the end of the pool.
        steps.go.set()


def code_of(answer):
    with pytest.raises(RequestError) as info:
        answer.result(30)
    return info.value.code


def test_what_is_wanted_is_computed_part_by_part(ask, steps):
    steps.go.set()
    assert ask().result(30)["values"].tolist() == ROWS["values"].tolist()
    assert steps.parts == 5


def test_a_deadline_that_passes_spares_the_remaining_parts(ask, steps):
    limits = Deadline()
    answer = ask(limits)
    assert steps.begun.wait(30)
    limits.passed = True
    steps.go.set()
    assert code_of(answer) == grpc.StatusCode.DEADLINE_EXCEEDED
    assert ask(inputs={"values": np.arange(2.0)}).result(30)["values"].tolist() == [0.0, 1.0]
    assert steps.parts == 2


def test_who_waits_is_told_when_the_deadline_passes(ask):
    answer = ask(CallLimits.of_seconds(0.3))
    assert code_of(answer) == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_caller_who_goes_away_spares_the_remaining_parts(ask, steps):
    go_away = []

    def on_end(callback):
        go_away.append(callback)
        return True

    answer = ask(CallLimits(on_end=on_end))
    assert steps.begun.wait(30)
    go_away[0]()
    assert not answer.done()
    steps.go.set()
    assert code_of(answer) == grpc.StatusCode.CANCELLED
    assert steps.parts == 1


def test_a_closed_batcher_computes_no_further_part(ask, batcher, steps):
    answer = ask()
    assert steps.begun.wait(30)
    closing = threading.Thread(target=batcher.close, args=(30,))
    closing.start()
    while not batcher._closed:
        time.sleep(0.01)
    steps.go.set()
    assert code_of(answer) == grpc.StatusCode.UNAVAILABLE
    closing.join(30)
    assert not closing.is_alive()
    assert steps.parts == 1


def test_closing_waits_no_longer_than_it_is_told(ask, batcher, steps):
    computed = ask()
    assert steps.begun.wait(30)
    waiting = ask()
    end = time.monotonic() + 30
    while not batcher.queued:
        assert time.monotonic() < end
        time.sleep(0.01)
    begun = time.monotonic()
    batcher.close(0.2)
    assert time.monotonic() - begun < 10
    assert not steps.go.is_set()
    assert code_of(computed) == grpc.StatusCode.UNAVAILABLE
    assert code_of(waiting) == grpc.StatusCode.UNAVAILABLE
    assert code_of(ask()) == grpc.StatusCode.UNAVAILABLE


def test_more_rows_than_a_request_may_have_are_refused_at_the_door(ask, steps):
    answer = ask(inputs={"values": np.arange(11.0)})
    assert code_of(answer) == grpc.StatusCode.INVALID_ARGUMENT
    assert "more than 10" in str(answer.exception())
    assert steps.parts == 0


def wait_request(seconds):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = "wait"
    request.inputs["seconds"].CopyFrom(tf.make_tensor_proto(seconds))
    return request


@pytest.fixture
def served(model_dir):
    """A server of small batches, and its stub."""
    batching = BatchingOptions(max_batch_size=2, max_request_rows=100, threads=1)
    with (
        EmbeddedServer(model_dir, port=0, rest_port=0, batching=batching) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield server, prediction_service_pb2_grpc.PredictionServiceStub(channel)


def in_flight(server, call):
    end = time.monotonic() + 30
    url = f"{server.rest_url}/monitoring/prometheus/metrics"
    while True:
        with urllib.request.urlopen(url, timeout=30) as response:
            if "processed_batch_size_count 1" in response.read().decode():
                return
        assert not call.done()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_server_refuses_too_many_rows_as_tf_serving_does(served):
    _, stub = served
    with pytest.raises(grpc.RpcError) as info:
        stub.Predict(wait_request([0.0] * 101), timeout=30)
    assert info.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    outputs = stub.Predict(wait_request([0.0] * 100), timeout=30).outputs
    assert len(outputs["seconds"].float_val) == 100


@pytest.mark.slow
def test_a_stopping_server_computes_all_parts_that_are_wanted(served):
    server, stub = served
    call = stub.Predict.future(wait_request([0.3] * 10), timeout=60)
    in_flight(server, call)
    server.stop(grace=60)
    assert len(call.result().outputs["seconds"].float_val) == 10


@pytest.mark.slow
def test_a_stopping_server_leaves_the_parts_that_are_beyond_its_grace(served):
    server, stub = served
    call = stub.Predict.future(wait_request([1.0] * 100), timeout=120)
    in_flight(server, call)
    begun = time.monotonic()
    server.stop(grace=0.5)
    # All fifty parts would take fifty seconds.
    assert time.monotonic() - begun < 25
    with pytest.raises(grpc.RpcError):
        call.result()
