import io
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import Client
from serving.loaded_model import LoadedModel
from serving.message_size import size_options
from serving.server import EmbeddedServer
from transform.errors import ConfigError
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

NOT_FOUND = grpc.StatusCode.NOT_FOUND
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT


def predict_request(values, *, signature=PREDICT_IMAGE, alias=IMAGE_BYTES, name=MODEL_NAME):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    request.inputs[alias].CopyFrom(tf.make_tensor_proto(values))
    return request


def metadata_request(*fields, name=MODEL_NAME):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    return request


def status_request(name=MODEL_NAME, version=None):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    return request


def refusal(call, request):
    """Status and message of a call that must fail."""
    with pytest.raises(grpc.RpcError) as info:
        call(request, timeout=20)
    details = info.value.details()
    assert details == details.strip()
    assert details
    assert "\n" not in details
    return info.value.code(), details


def test_the_newest_whole_version_answers_and_says_so(server, predictions, picture):
    response = predictions.Predict(predict_request([picture(51), picture(255)]), timeout=20)
    assert server.version == 10
    assert response.model_spec.name == MODEL_NAME
    assert response.model_spec.version.value == 10
    assert response.model_spec.signature_name == PREDICT_IMAGE
    np.testing.assert_allclose(tf.make_ndarray(response.outputs[PROBABILITY]), [0.2, 1.0], 1e-6)
    assert tf.make_ndarray(response.outputs[DECISION]).tolist() == [0, 1]
    assert tf.make_ndarray(response.outputs[THRESHOLD]).tolist() == [0.5, 0.5]


def test_values_come_in_the_typed_fields_that_clients_of_tf_serving_read(predictions, picture):
    outputs = predictions.Predict(predict_request([picture(255)]), timeout=20).outputs
    assert list(outputs[PROBABILITY].float_val) == [1.0]
    assert list(outputs[DECISION].int64_val) == [1]


def test_an_empty_batch_gets_an_empty_answer(predictions):
    request = predict_request(np.array([], dtype=object))
    outputs = predictions.Predict(request, timeout=20).outputs
    assert tf.make_ndarray(outputs[PROBABILITY]).shape == (0,)


def test_no_signature_name_means_serving_default(predictions):
    request = predict_request([b""], signature="", alias=EXAMPLES)
    code, details = refusal(predictions.Predict, request)
    assert code == INVALID_ARGUMENT
    assert "image/encoded" in details


def test_output_filter_limits_the_outputs(predictions, picture):
    request = predict_request([picture(0)])
    request.output_filter.append(DECISION)
    assert list(predictions.Predict(request, timeout=20).outputs) == [DECISION]


@pytest.mark.parametrize("outputs", [["odds"], [DECISION, DECISION]])
def test_an_unknown_or_repeated_output_in_the_filter_is_refused(predictions, picture, outputs):
    request = predict_request([picture(0)])
    request.output_filter.extend(outputs)
    code, details = refusal(predictions.Predict, request)
    assert code == INVALID_ARGUMENT
    assert outputs[0] in details


def test_unknown_models_and_versions_are_not_found(predictions, models, picture):
    other_model = predict_request([picture(0)], name="other")
    other_version = predict_request([picture(0)])
    other_version.model_spec.version.value = 2
    assert refusal(predictions.Predict, other_model)[0] == NOT_FOUND
    assert refusal(predictions.Predict, other_version)[0] == NOT_FOUND
    metadata = metadata_request("signature_def", name="other")
    assert refusal(predictions.GetModelMetadata, metadata)[0] == NOT_FOUND
    assert refusal(models.GetModelStatus, status_request(name="other"))[0] == NOT_FOUND
    assert refusal(models.GetModelStatus, status_request(version=2))[0] == NOT_FOUND


def test_a_version_asked_for_by_its_number_answers(predictions, picture):
    request = predict_request([picture(0)])
    request.model_spec.version.value = 10
    assert predictions.Predict(request, timeout=20).model_spec.version.value == 10


def test_a_request_without_a_model_name_or_with_a_label_is_refused(predictions, picture):
    assert refusal(predictions.Predict, predict_pb2.PredictRequest())[0] == INVALID_ARGUMENT
    request = predict_request([picture(0)])
    request.model_spec.version_label = "stable"
    assert refusal(predictions.Predict, request)[0] == INVALID_ARGUMENT


def test_an_unknown_signature_is_refused_with_those_that_exist(predictions, picture):
    code, details = refusal(predictions.Predict, predict_request([b""], signature="guess"))
    assert code == INVALID_ARGUMENT
    assert "guess" in details
    assert PREDICT_IMAGE in details


def test_a_missing_or_unknown_input_is_refused_with_the_right_name(predictions, picture):
    extra = predict_request([picture(0)])
    extra.inputs["age"].CopyFrom(tf.make_tensor_proto([60.0]))
    missing = predict_request([picture(0)])
    missing.inputs.clear()
    for request in (predict_request([picture(0)], alias="images"), extra, missing):
        code, details = refusal(predictions.Predict, request)
        assert code == INVALID_ARGUMENT
        assert IMAGE_BYTES in details


def message(dtype, shape, **values):
    tensor = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        (message(types_pb2.DT_FLOAT, [1], float_val=[1]), "DT_FLOAT, expected DT_STRING"),
        (message(99, [1], string_val=[b"x"]), "99, expected DT_STRING"),
        (message(types_pb2.DT_STRING, [], string_val=[b"x"]), "has shape"),
        (message(types_pb2.DT_STRING, [1, 1], string_val=[b"x"]), "has shape"),
        (message(types_pb2.DT_STRING, [-1], string_val=[b"x"]), "no definite shape"),
        (message(types_pb2.DT_STRING, [2], string_val=[b"x"]), "too few"),
        (message(types_pb2.DT_STRING, [2**62], string_val=[b"x"]), "too few"),
        (message(types_pb2.DT_STRING, [1], string_val=[b"x", b"y"]), "malformed"),
        (message(types_pb2.DT_STRING, [1], tensor_content=b"x"), "malformed"),
    ],
)
def test_a_malformed_tensor_is_refused(predictions, tensor, complaint):
    request = predict_request([b""])
    request.inputs[IMAGE_BYTES].CopyFrom(tensor)
    code, details = refusal(predictions.Predict, request)
    assert code == INVALID_ARGUMENT
    assert complaint in details


def test_numbers_are_read_from_both_encodings_and_checked_against_the_shape(predictions):
    for tensor in (
        message(types_pb2.DT_FLOAT, [1, 2], float_val=[1, 3]),
        message(types_pb2.DT_FLOAT, [1, 2], tensor_content=np.float32([1, 3]).tobytes()),
    ):
        request = predict_request([b""], signature="halve", alias="values")
        request.inputs["values"].CopyFrom(tensor)
        halves = predictions.Predict(request, timeout=20).outputs["halves"]
        assert tf.make_ndarray(halves).tolist() == [[0.5, 1.5]]
    request.inputs["values"].CopyFrom(message(types_pb2.DT_FLOAT, [1, 3], float_val=[1, 2, 3]))
    assert refusal(predictions.Predict, request)[0] == INVALID_ARGUMENT


@pytest.mark.parametrize(
    "damaged",
    [b"", b"junk \xff\xfe", b"\x89PNG\r\n\x1a\njunk", b"\xff\xd8\xff\xe0junk"],
    ids=["empty", "text", "png", "jpeg"],
)
def test_a_picture_that_cannot_be_decoded_is_refused(predictions, picture, damaged):
    code, details = refusal(predictions.Predict, predict_request([picture(0), damaged]))
    assert code == INVALID_ARGUMENT
    assert "node" not in details


@pytest.mark.parametrize("damaged", [b"\xff\xfe", b"secret"], ids=["bytes", "text"])
def test_an_example_that_cannot_be_parsed_is_refused_without_repeating_it(predictions, damaged):
    request = predict_request([damaged * 500], signature=SERVING_DEFAULT, alias=EXAMPLES)
    code, details = refusal(predictions.Predict, request)
    assert code == INVALID_ARGUMENT
    assert details == "Could not parse example input"


def test_metadata_returns_every_signature(predictions):
    response = predictions.GetModelMetadata(metadata_request("signature_def"), timeout=20)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def[PREDICT_IMAGE]
    assert response.model_spec.version.value == 10
    assert signature.inputs[IMAGE_BYTES].dtype == types_pb2.DT_STRING
    assert set(signature.outputs) == {PROBABILITY, DECISION, THRESHOLD}
    assert EXAMPLES in signatures.signature_def[SERVING_DEFAULT].inputs


@pytest.mark.parametrize("fields", [[], ["graph"]])
def test_metadata_other_than_signatures_is_refused(predictions, fields):
    assert refusal(predictions.GetModelMetadata, metadata_request(*fields))[0] == INVALID_ARGUMENT


@pytest.mark.parametrize("version", [None, 10])
def test_the_status_of_the_served_version_is_available(models, version):
    response = models.GetModelStatus(status_request(version=version), timeout=20)
    (status,) = response.model_version_status
    assert (status.version, status.state, status.status.error_code) == (10, status.AVAILABLE, 0)


def test_calls_that_this_server_does_not_have_are_unimplemented(predictions):
    request = inference_pb2.MultiInferenceRequest()
    assert refusal(predictions.MultiInference, request)[0] == grpc.StatusCode.UNIMPLEMENTED


def test_messages_beyond_grpcs_own_four_megabytes_are_answered(predictions):
    noise = np.random.default_rng(0).integers(0, 256, (2200, 2200), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format="PNG", compress_level=0)
    request = predict_request([buffer.getvalue()])
    assert request.ByteSize() > 4 * 1024 * 1024
    outputs = predictions.Predict(request, timeout=20).outputs
    assert outputs[PROBABILITY].float_val[0] == pytest.approx(noise.mean() / 255, abs=1e-4)


def test_a_message_beyond_the_servers_limit_is_refused(model_dir, picture):
    options = size_options(1024 * 1024)
    with (
        EmbeddedServer(model_dir, port=0, max_message_bytes=10_000) as small,
        grpc.insecure_channel(small.address, options=options) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_request([b"x" * 20_000])
        assert refusal(stub.Predict, request)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_taken_port_is_named_and_never_shared(server, model_dir):
    port = int(server.address.rsplit(":", 1)[1])
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} \(address already in use\)"):
            EmbeddedServer(model_dir, host=host, port=port).start()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no.such.host.invalid", 0)])
def test_an_address_that_cannot_be_used_is_named(model_dir, host, port):
    with pytest.raises(ConfigError, match=r"70000|no\.such\.host\.invalid") as info:
        EmbeddedServer(model_dir, host=host, port=port).start()
    assert "\n" not in str(info.value)


def test_a_damaged_model_is_named_and_frees_the_port(tmp_path, model_dir, picture):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"not a SavedModel")
    broken = EmbeddedServer(tmp_path, port=0)
    with pytest.raises(ConfigError, match=r"cannot load the model version .*/1 ") as info:
        broken.start()
    assert "\n" not in str(info.value)
    with pytest.raises(RuntimeError, match="not started"):
        _ = broken.address


def test_a_model_without_its_variables_is_named(tmp_path, model_dir):
    (tmp_path / "1" / "variables").mkdir(parents=True)
    graph = (model_dir / "10" / "saved_model.pb").read_bytes()
    (tmp_path / "1" / "saved_model.pb").write_bytes(graph)
    with pytest.raises(ConfigError, match=r"cannot load the model version .*/1 ") as info:
        EmbeddedServer(tmp_path, port=0).start()
    assert "\n" not in str(info.value)


def test_a_call_in_flight_is_answered_before_the_server_stops(model_dir, picture, monkeypatch):
    arrived, released = threading.Event(), threading.Event()
    predict = LoadedModel.predict

    def slow_predict(*args):
        arrived.set()
        assert released.wait(20)
        return predict(*args)

    monkeypatch.setattr(LoadedModel, "predict", slow_predict)
    server = EmbeddedServer(model_dir, port=0)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        call = stub.Predict.future(predict_request([picture(255)]), timeout=20)
        assert arrived.wait(20)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        released.set()
        assert list(call.result().outputs[PROBABILITY].float_val) == [1.0]
        stopping.join(20)
        assert not stopping.is_alive()
    server.wait()


def test_a_stopped_server_frees_its_port_and_can_start_again(model_dir, picture):
    with EmbeddedServer(model_dir, port=0) as first:
        port = int(first.address.rsplit(":", 1)[1])
    second = EmbeddedServer(model_dir, port=port)
    for _ in range(2):
        with second, Client(second.address) as client:
            assert client.predict_pictures([picture(255)])[0].decision == 1
