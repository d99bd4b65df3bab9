"""Calls of several clients are computed together, and none suffers from another."""

import contextlib
import time
import urllib.request

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.server import EmbeddedServer
from serving.server_options import BatchingOptions
from transform.errors import ConfigError
from transform.prediction import IMAGE_BYTES, MODEL_NAME, PREDICT_IMAGE, PROBABILITY

QUEUE_LENGTH = ":tensorflow:serving:batching_session:queue_length"
BATCHES = ":tensorflow:serving:batching_session:processed_batch_size_count"


def predict_request(values, *, signature="wait", alias="seconds"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = signature
    request.inputs[alias].CopyFrom(tf.make_tensor_proto(values))
    return request


def picture_request(*pictures):
    return predict_request(list(pictures), signature=PREDICT_IMAGE, alias=IMAGE_BYTES)


class Busy:
    """A server of one thread, and what it says about itself."""

    def __init__(self, server, stub):
        self.server, self.stub = server, stub

    def ask(self, request, timeout=30):
        return self.stub.Predict.future(request, timeout=timeout)

    def sample(self, name):
        url = f"{self.server.rest_url}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(url, timeout=20) as response:
            for line in response.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.split()[1])
        return 0.0

    def until(self, name, value):
        end = time.monotonic() + 20
        while self.sample(name) != value:
            assert time.monotonic() < end, f"{name} is {self.sample(name)}, not {value}"
            time.sleep(0.01)

    def occupy(self, seconds=1.0):
        """Keep the only thread busy, so that what is asked next waits."""
        begun = self.sample(BATCHES)
        call = self.ask(predict_request([seconds]))
        self.until(BATCHES, begun + 1)
        return call


@contextlib.contextmanager
def busy_server(model_dir, **options):
    batching = BatchingOptions(threads=1, **options)
    with (
        EmbeddedServer(model_dir, port=0, rest_port=0, batching=batching) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield Busy(server, prediction_service_pb2_grpc.PredictionServiceStub(channel))


def rows_together(call):
    return list(call.result().outputs["rows"].int_val)


def test_calls_that_wait_are_computed_together_up_to_the_batch_size(model_dir):
    with busy_server(model_dir, max_batch_size=4) as busy:
        first = busy.occupy()
        calls = [busy.ask(predict_request([0.0])) for _ in range(6)]
        busy.until(QUEUE_LENGTH, 6)
        assert rows_together(first) == [1]
        assert sorted(rows_together(call) for call in calls) == [[2], [2], [4], [4], [4], [4]]


def test_every_caller_gets_its_own_rows(model_dir, picture):
    greys = [[0, 51], [102], [255, 204, 153]]
    with busy_server(model_dir) as busy:
        busy.occupy()
        calls = [busy.ask(picture_request(*map(picture, row))) for row in greys]
        busy.until(QUEUE_LENGTH, 3)
        begun = busy.sample(BATCHES)
        for row, call in zip(greys, calls, strict=True):
            probabilities = call.result().outputs[PROBABILITY].float_val
            assert list(probabilities) == pytest.approx([grey / 255 for grey in row])
        assert busy.sample(BATCHES) == begun + 1


def test_one_bad_picture_fails_its_own_call_alone(model_dir, picture):
    with busy_server(model_dir) as busy:
        busy.occupy()
        greys = [0, 51, 102, None, 153, 204, 255]
        calls = [
            busy.ask(picture_request(b"no picture" if grey is None else picture(grey)))
            for grey in greys
        ]
        busy.until(QUEUE_LENGTH, len(greys))
        for grey, call in zip(greys, calls, strict=True):
            if grey is None:
                with pytest.raises(grpc.RpcError) as info:
                    call.result()
                assert info.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            else:
                (probability,) = call.result().outputs[PROBABILITY].float_val
                assert probability == pytest.approx(grey / 255)


def test_a_call_larger_than_a_batch_is_computed_in_parts(model_dir):
    with busy_server(model_dir, max_batch_size=4) as busy:
        assert rows_together(busy.ask(predict_request([0.0] * 10))) == [4] * 8 + [2] * 2


def test_calls_wait_for_company_where_a_delay_says_so(model_dir):
    with busy_server(model_dir, max_batch_size=3, delay_seconds=20.0) as busy:
        calls = [busy.ask(predict_request([0.0])) for _ in range(3)]
        assert [rows_together(call) for call in calls] == [[3]] * 3


def test_a_delay_ends_without_company(model_dir):
    with busy_server(model_dir, delay_seconds=0.2) as busy:
        begun = time.monotonic()
        assert rows_together(busy.ask(predict_request([0.0]))) == [1]
        assert time.monotonic() - begun >= 0.2


def test_a_full_queue_refuses_and_forgets_nobody_who_waits(model_dir):
    with busy_server(model_dir, max_queued=2) as busy:
        first = busy.occupy()
        waiting = [busy.ask(predict_request([0.0])) for _ in range(2)]
        busy.until(QUEUE_LENGTH, 2)
        with pytest.raises(grpc.RpcError) as info:
            busy.ask(predict_request([0.0])).result()
        assert info.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "queue full" in info.value.details()
        assert [rows_together(call) for call in (first, *waiting)] == [[1], [2], [2]]
        assert rows_together(busy.ask(predict_request([0.0]))) == [1]


def test_a_call_whose_deadline_passes_while_it_waits_is_not_computed(model_dir):
    with busy_server(model_dir) as busy:
        first = busy.occupy()
        late = busy.ask(predict_request([0.0]), timeout=0.2)
        with pytest.raises(grpc.RpcError) as info:
            late.result()
        assert info.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        busy.until(QUEUE_LENGTH, 0)
        assert not first.done()
        assert rows_together(first) == [1]
        assert rows_together(busy.ask(predict_request([0.0]))) == [1]
        assert busy.sample(BATCHES) == 2


def test_a_call_that_is_cancelled_while_it_waits_is_not_computed(model_dir):
    with busy_server(model_dir) as busy:
        first = busy.occupy()
        given_up = busy.ask(predict_request([0.0]))
        busy.until(QUEUE_LENGTH, 1)
        given_up.cancel()
        busy.until(QUEUE_LENGTH, 0)
        assert rows_together(first) == [1]
        assert rows_together(busy.ask(predict_request([0.0]))) == [1]
        assert busy.sample(BATCHES) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"max_batch_size": 0},
        {"max_queued": 0},
        {"threads": 0},
        {"delay_seconds": -1.0},
        {"delay_seconds": 1e300},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="give"):
        BatchingOptions(**options)
