"""A version that ended leaves the memory, whatever its last calls came to."""

import gc
import shutil
import threading
import time
import weakref

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving import server as server_module
from serving.loaded_model import LoadedModel
from serving.server import EmbeddedServer
from transform.prediction import MODEL_NAME, WARM_UP_REQUESTS

pytestmark = pytest.mark.slow


def wait_request(seconds, alias="seconds"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = "wait"
    request.inputs[alias].CopyFrom(tf.make_tensor_proto([seconds]))
    return request


@pytest.fixture
def computed():
    """Set while models may compute."""
    event = threading.Event()
    event.set()
    yield event
    event.set()


@pytest.fixture
def graphs(monkeypatch, computed):
    """The graphs that were loaded, by version; only the server itself collects garbage."""
    found = {}

    class Recorded(LoadedModel):
        def __init__(self, version):
            super().__init__(version)
            found[version.number] = weakref.ref(self._saved_model.signatures["wait"].graph)

        def _run(self, *arguments):
            assert computed.wait(120)
            return super()._run(*arguments)

    monkeypatch.setattr(server_module, "LoadedModel", Recorded)
    gc.collect()
    gc.disable()
    yield found
    gc.enable()


@pytest.fixture
def folder(tmp_path, model_dir):
    shutil.copytree(model_dir / "2", tmp_path / MODEL_NAME / "2")
    return tmp_path / MODEL_NAME


@pytest.fixture
def stub(folder, graphs):
    with (
        EmbeddedServer(folder, port=0, poll_seconds=0.02) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def push(folder, number, export):
    shutil.copytree(export, folder / f"_temp_{number}")
    (folder / f"_temp_{number}").rename(folder / str(number))


def until_gone(graphs, version):
    end = time.monotonic() + 60
    while version not in graphs or graphs[version]() is not None:
        assert time.monotonic() < end, f"version {version} stays in memory"
        time.sleep(0.02)


def test_replaced_versions_leave_the_memory(stub, folder, graphs, model_dir):
    stub.Predict(wait_request(0.0), timeout=30)
    push(folder, 3, model_dir / "10")
    until_gone(graphs, 2)
    stub.Predict(wait_request(0.0), timeout=30)
    push(folder, 4, model_dir / "2")
    until_gone(graphs, 3)
    assert stub.Predict(wait_request(0.0), timeout=30).model_spec.version.value == 4
    assert graphs[4]() is not None


def test_a_version_that_refused_calls_leaves_the_memory(stub, folder, graphs, model_dir):
    for _ in range(3):
        with pytest.raises(grpc.RpcError):
            stub.Predict(wait_request(0.0, "other"), timeout=30)
    push(folder, 3, model_dir / "10")
    until_gone(graphs, 2)


def test_a_version_that_computes_what_nobody_waits_for_leaves_the_memory(
    stub, folder, graphs, model_dir, computed
):
    collections = []

    def note(phase, info):
        if phase == "stop" and 3 in graphs:
            collections.append(info)

    computed.clear()
    with pytest.raises(grpc.RpcError) as info:
        stub.Predict(wait_request(0.0), timeout=1.0)
    assert info.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    gc.callbacks.append(note)
    try:
        push(folder, 3, model_dir / "10")
        # The garbage was collected while the old version was still in use.
        end = time.monotonic() + 60
        while not collections:
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        gc.callbacks.remove(note)
    assert graphs[2]() is not None
    computed.set()
    until_gone(graphs, 2)


def test_a_version_that_fails_its_warm_up_leaves_the_memory(stub, folder, graphs, model_dir):
    shutil.copytree(model_dir / "10", folder / "_temp_3")
    (folder / "_temp_3" / WARM_UP_REQUESTS).parent.mkdir(parents=True)
    (folder / "_temp_3" / WARM_UP_REQUESTS).write_bytes(b"no record" * 20)
    (folder / "_temp_3").rename(folder / "3")
    until_gone(graphs, 3)
    assert stub.Predict(wait_request(0.0), timeout=30).model_spec.version.value == 2
