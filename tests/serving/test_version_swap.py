"""The server takes up versions while it runs, and goes on where one is of no use.

CTNET_SWAPS sets how many versions are swapped under load, and CTNET_SWAP_SECONDS how long it lasts
at least (4 and 0 where they are not set).
"""

import logging
import os
import shutil
import threading
import time
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving.server import EmbeddedServer
from transform.errors import ConfigError
from transform.prediction import IMAGE_BYTES, MODEL_NAME, PREDICT_IMAGE, THRESHOLD

POLL = 0.02
SWAPS = int(os.environ.get("CTNET_SWAPS", "4"))
SWAP_SECONDS = float(os.environ.get("CTNET_SWAP_SECONDS", "0"))
STATES = get_model_status_pb2.ModelVersionStatus


def predict_request(picture):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = PREDICT_IMAGE
    request.inputs[IMAGE_BYTES].CopyFrom(tf.make_tensor_proto([picture]))
    return request


def push(folder, number, export):
    """A whole version at once, as the Pusher does."""
    folder.mkdir(exist_ok=True)
    shutil.copytree(export, folder / f"_temp_{number}")
    (folder / f"_temp_{number}").rename(folder / str(number))


class Watched:
    """A folder, the server that watches it, and its stubs."""

    def __init__(self, folder, address, channel):
        self.folder, self.address = folder, address
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)

    def states(self):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = MODEL_NAME
        statuses = self.models.GetModelStatus(request, timeout=20).model_version_status
        return {status.version: status for status in statuses}

    def until(self, version, state):
        """Wait until a version has a state, and return its status."""
        end = time.monotonic() + 60
        while True:
            status = self.states().get(version)
            if status is not None and status.state == state:
                return status
            assert time.monotonic() < end, f"version {version}: {status}"
            time.sleep(0.02)

    def ask(self, picture):
        response = self.predictions.Predict(predict_request(picture), timeout=30)
        (threshold,) = response.outputs[THRESHOLD].float_val
        return response.model_spec.version.value, threshold


@pytest.fixture
def watch():
    """Starts a server on a folder, and gives it with its stubs."""
    closing = []

    def start(folder, **options):
        server = EmbeddedServer(folder, port=0, poll_seconds=POLL, **options)
        server.start()
        channel = grpc.insecure_channel(server.address)
        closing.append((server, channel))
        return Watched(folder, server.address, channel)

    yield start
    for server, channel in closing:
        channel.close()
        server.stop()


@pytest.fixture
def folder(tmp_path, model_dir):
    """A folder that holds version 2 of threshold 0.25; version 10 of 0.5 can be pushed."""
    push(tmp_path / MODEL_NAME, 2, model_dir / "2")
    return tmp_path / MODEL_NAME


def test_a_newer_version_takes_over_and_the_old_one_ends(watch, folder, model_dir, picture):
    watched = watch(folder)
    assert watched.ask(picture(0)) == (2, 0.25)
    push(folder, 10, model_dir / "10")
    watched.until(10, STATES.AVAILABLE)
    watched.until(2, STATES.END)
    assert watched.ask(picture(0)) == (10, 0.5)
    request = predict_request(picture(0))
    request.model_spec.version.value = 2
    with pytest.raises(grpc.RpcError) as info:
        watched.predictions.Predict(request, timeout=20)
    assert info.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_version_ends_only_when_its_last_call_is_answered(watch, folder, model_dir, picture):
    watched = watch(folder)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = "wait"
    request.inputs["seconds"].CopyFrom(tf.make_tensor_proto([4.0]))
    call = watched.predictions.Predict.future(request, timeout=60)
    watched.ask(picture(0))
    push(folder, 10, model_dir / "10")
    watched.until(10, STATES.AVAILABLE)
    assert not call.done()
    assert watched.states()[2].state == STATES.UNLOADING
    assert watched.ask(picture(0)) == (10, 0.5)
    assert call.result().model_spec.version.value == 2
    watched.until(2, STATES.END)


def test_a_version_that_vanishes_is_rolled_back(watch, folder, model_dir, picture):
    push(folder, 10, model_dir / "10")
    watched = watch(folder)
    assert watched.ask(picture(0)) == (10, 0.5)
    (folder / "10").rename(folder / "_gone_10")
    watched.until(2, STATES.AVAILABLE)
    watched.until(10, STATES.END)
    assert watched.ask(picture(0)) == (2, 0.25)
    (folder / "_gone_10").rename(folder / "10")
    watched.until(10, STATES.AVAILABLE)
    assert watched.ask(picture(0)) == (10, 0.5)


def test_the_last_version_goes_on_when_the_folder_is_emptied(watch, folder, picture, caplog):
    watched = watch(folder)
    shutil.rmtree(folder)
    wait_for_line(caplog, "cannot list the model folder")
    assert watched.ask(picture(0)) == (2, 0.25)


def wait_for_line(caplog, text):
    end = time.monotonic() + 60
    while not any(text in record.getMessage() for record in caplog.records):
        assert time.monotonic() < end, f"no line says {text!r}: {caplog.text}"
        time.sleep(0.02)


def damaged(export, folder, number):
    """A version whose variables are cut, as a crash in the middle of a copy leaves them."""
    push(folder, number, export)
    (data,) = (folder / str(number) / "variables").glob("variables.data-*")
    data.write_bytes(b"")
    return data


def test_a_broken_version_is_named_once_and_served_when_it_is_repaired(
    watch, folder, model_dir, picture, caplog
):
    watched = watch(folder)
    data = damaged(model_dir / "10", folder, 10)
    status = watched.until(10, STATES.END)
    assert status.status.error_code != 0
    assert "cannot load" in status.status.error_message
    time.sleep(10 * POLL)
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "cannot load" in line]) == 1
    assert "version 2 goes on" in lines[-1]
    assert watched.ask(picture(0)) == (2, 0.25)
    shutil.copy(model_dir / "10" / "variables" / data.name, data)
    watched.until(10, STATES.AVAILABLE)
    assert watched.ask(picture(0)) == (10, 0.5)


def test_a_half_written_version_is_named_once_and_served_when_it_is_whole(
    watch, folder, model_dir, picture, caplog
):
    watched = watch(folder)
    shutil.copytree(model_dir / "10" / "variables", folder / "10" / "variables")
    wait_for_line(caplog, "no saved_model.pb yet")
    time.sleep(10 * POLL)
    assert len(caplog.records) == 1
    assert watched.ask(picture(0)) == (2, 0.25)
    shutil.copy(model_dir / "10" / "saved_model.pb", folder / "10" / "part")
    (folder / "10" / "part").rename(folder / "10" / "saved_model.pb")
    watched.until(10, STATES.AVAILABLE)
    assert watched.ask(picture(0)) == (10, 0.5)


def test_a_server_that_starts_beside_a_broken_version_serves_the_one_before(
    watch, folder, model_dir, picture
):
    damaged(model_dir / "10", folder, 10)
    watched = watch(folder)
    assert watched.ask(picture(0)) == (2, 0.25)
    assert watched.states()[10].state == STATES.END


def test_a_pinned_version_stays(watch, folder, model_dir, picture):
    push(folder, 10, model_dir / "10")
    watched = watch(folder, pinned_version=2)
    time.sleep(5 * POLL)
    assert watched.ask(picture(0)) == (2, 0.25)
    assert list(watched.states()) == [2]


def test_a_pinned_version_that_is_missing_is_named_with_those_that_exist(folder):
    with pytest.raises(ConfigError, match=r"no whole model version 7 .* there: 2"):
        EmbeddedServer(folder, port=0, pinned_version=7).start()


def health_of(address, service=""):
    """The status number of the gRPC health protocol, by its wire format."""
    name = service.encode()
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        answer = check(b"\x0a" + bytes([len(name)]) + name if name else b"", timeout=20)
    assert answer[:1] in (b"", b"\x08")
    return answer[1] if answer else 0


def test_a_waiting_server_is_ready_with_its_first_version(watch, tmp_path, model_dir, picture):
    watched = watch(tmp_path / "later", wait=True)
    assert health_of(watched.address) == 2
    with pytest.raises(grpc.RpcError) as info:
        watched.ask(picture(0))
    assert info.value.code() == grpc.StatusCode.UNAVAILABLE
    push(tmp_path / "later", 1, model_dir / "2")
    end = time.monotonic() + 60
    while health_of(watched.address) != 1:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert watched.ask(picture(0)) == (1, 0.25)


def test_health_knows_the_prediction_service_and_no_others(server):
    assert health_of(server.address) == 1
    assert health_of(server.address, "tensorflow.serving.PredictionService") == 1
    with pytest.raises(grpc.RpcError) as info:
        health_of(server.address, "other")
    assert info.value.code() == grpc.StatusCode.NOT_FOUND


def write_warm_up(version, *requests):
    extra = version / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def test_a_version_is_asked_its_warm_up_requests_before_it_serves(
    watch, folder, model_dir, picture
):
    shutil.copytree(model_dir / "10", folder / "_temp_10")
    slow = predict_pb2.PredictRequest()
    slow.model_spec.signature_name = "wait"
    slow.inputs["seconds"].CopyFrom(tf.make_tensor_proto([1.0]))
    write_warm_up(folder / "_temp_10", predict_request(picture(7)), slow)
    watched = watch(folder)
    begun = time.monotonic()
    (folder / "_temp_10").rename(folder / "10")
    watched.until(10, STATES.LOADING)
    assert watched.ask(picture(0)) == (2, 0.25)
    watched.until(10, STATES.AVAILABLE)
    assert time.monotonic() - begun >= 1.0


def test_a_version_that_fails_its_warm_up_does_not_serve(watch, folder, model_dir, picture):
    shutil.copytree(model_dir / "10", folder / "_temp_10")
    write_warm_up(folder / "_temp_10", predict_request(b"no picture"))
    watched = watch(folder)
    (folder / "_temp_10").rename(folder / "10")
    status = watched.until(10, STATES.END)
    assert "warm-up" in status.status.error_message
    assert watched.ask(picture(0)) == (2, 0.25)


@pytest.fixture
def swapped(request, endpoint):
    """A server whose folder versions can be pushed to: ours, or TF Serving's (see conftest)."""
    if endpoint.embedded:
        yield request.getfixturevalue("watch")(request.getfixturevalue("folder"))
        return
    folder = Path(os.environ["CTNET_TF_SERVING"].split(",", 2)[2]) / MODEL_NAME
    with grpc.insecure_channel(endpoint.address) as channel:
        yield Watched(folder, endpoint.address, channel)
    for version in folder.glob("1??"):
        shutil.rmtree(version)


@pytest.mark.slow
def test_no_request_fails_while_versions_are_swapped_under_load(swapped, model_dir, picture):
    stop = threading.Event()
    failures, seen = [], set()

    def load():
        while not stop.is_set():
            try:
                version, threshold = swapped.ask(picture(0))
            except grpc.RpcError as error:
                failures.append(error)
                return
            seen.add((version, threshold))
            answered[0] += 1

    answered = [0]
    clients = [threading.Thread(target=load) for _ in range(2)]
    for client in clients:
        client.start()
    numbers = range(100, 100 + SWAPS)
    begun = time.monotonic()
    try:
        for turn, number in enumerate(numbers):
            time.sleep(max(0.0, begun + turn * SWAP_SECONDS / SWAPS - time.monotonic()))
            push(swapped.folder, number, model_dir / ("10" if number % 2 else "2"))
            swapped.until(number, STATES.AVAILABLE)
            end = time.monotonic() + 30
            while number not in {version for version, _ in seen} and not failures:
                assert time.monotonic() < end
                time.sleep(0.01)
        time.sleep(max(0.0, begun + SWAP_SECONDS - time.monotonic()))
    finally:
        stop.set()
        for client in clients:
            client.join()
    print(f"{answered[0]} requests answered during {SWAPS} swaps")
    assert failures == []
    # An answer never mixes versions: the threshold is that of the version which the answer names.
    for version, threshold in seen:
        if version in numbers:
            assert threshold == (0.5 if version % 2 else 0.25)


@pytest.fixture(autouse=True)
def every_line(caplog):
    caplog.set_level(logging.WARNING, logger="serving")
