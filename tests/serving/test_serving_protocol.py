"""What TF Serving's gRPC protocol promises, asked of the embedded server or of a real TF Serving.

CTNET_TF_SERVING points these tests at a TF Serving; conftest.py says how.
"""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.message_size import MAX_MESSAGE_BYTES, size_options
from transform.prediction import (
    DECISION,
    IMAGE_BYTES,
    MODEL_NAME,
    PREDICT_IMAGE,
    PROBABILITY,
    THRESHOLD,
)

NOT_FOUND = grpc.StatusCode.NOT_FOUND
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module")
def connection(endpoint):
    options = size_options(MAX_MESSAGE_BYTES)
    with grpc.insecure_channel(endpoint.address, options=options) as channel:
        yield channel


@pytest.fixture(scope="module")
def predictions(connection):
    return prediction_service_pb2_grpc.PredictionServiceStub(connection)


@pytest.fixture(scope="module")
def models(connection):
    return model_service_pb2_grpc.ModelServiceStub(connection)


def predict_request(values, *, signature=PREDICT_IMAGE, alias=IMAGE_BYTES, name=MODEL_NAME):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    request.inputs[alias].CopyFrom(tf.make_tensor_proto(values))
    return request


def code_of(call, request):
    with pytest.raises(grpc.RpcError) as info:
        call(request, timeout=20)
    return info.value.code()


def test_pictures_are_answered_by_the_version_that_says_so(predictions, picture):
    response = predictions.Predict(predict_request([picture(51), picture(255)]), timeout=20)
    assert response.model_spec.name == MODEL_NAME
    assert response.model_spec.version.value == 10
    assert response.model_spec.signature_name == PREDICT_IMAGE
    np.testing.assert_allclose(response.outputs[PROBABILITY].float_val, [0.2, 1.0], 1e-6)
    assert list(response.outputs[DECISION].int64_val) == [0, 1]
    assert set(response.outputs) == {PROBABILITY, DECISION, THRESHOLD}


def test_an_output_filter_limits_the_outputs(predictions, picture):
    request = predict_request([picture(0)])
    request.output_filter.append(DECISION)
    assert list(predictions.Predict(request, timeout=20).outputs) == [DECISION]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (predict_request([b""], name="other"), NOT_FOUND),
        (predict_request([1.0]), INVALID_ARGUMENT),
        (predict_request([b"no picture"]), INVALID_ARGUMENT),
        (predict_request([b""], alias="images"), INVALID_ARGUMENT),
        (predict_pb2.PredictRequest(), INVALID_ARGUMENT),
    ],
    ids=["model", "dtype", "picture", "alias", "no model"],
)
def test_a_wrong_request_gets_its_code(predictions, request_, code):
    assert code_of(predictions.Predict, request_) == code


def test_a_version_that_is_not_served_is_not_found(predictions, models, picture):
    request = predict_request([picture(0)])
    request.model_spec.version.value = 4711
    assert code_of(predictions.Predict, request) == NOT_FOUND
    status = get_model_status_pb2.GetModelStatusRequest(model_spec=request.model_spec)
    assert code_of(models.GetModelStatus, status) == NOT_FOUND


@pytest.mark.parametrize(
    ("method", "message", "kind"),
    [
        ("Classify", classification_pb2.ClassificationRequest, "classif"),
        ("Regress", regression_pb2.RegressionRequest, "regress"),
    ],
)
def test_a_predict_signature_neither_classifies_nor_regresses(predictions, method, message, kind):
    request = message()
    request.model_spec.name = MODEL_NAME
    request.input.example_list.examples.add()
    with pytest.raises(grpc.RpcError) as info:
        getattr(predictions, method)(request, timeout=20)
    assert info.value.code() == INVALID_ARGUMENT
    assert kind in info.value.details()


def test_metadata_has_every_signature_with_its_shapes(predictions):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = MODEL_NAME
    response = predictions.GetModelMetadata(request, timeout=20)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    images = signatures.signature_def[PREDICT_IMAGE].inputs[IMAGE_BYTES]
    assert images.dtype == types_pb2.DT_STRING
    assert [dimension.size for dimension in images.tensor_shape.dim] == [-1]


def test_the_served_version_is_available(models):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.version.value = 10
    (status,) = models.GetModelStatus(request, timeout=20).model_version_status
    assert (status.version, status.state, status.status.error_code) == (10, status.AVAILABLE, 0)
