"""Classify and Regress on a classic SavedModel whose signatures allow them."""

import json
import urllib.request

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.server import EmbeddedServer
from transform.prediction import MODEL_NAME


def export_classic(folder):
    """A SavedModel of TensorFlow 1: the share `x` as two scored classes, and as a number."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], name="examples")
        share = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
        scores = tf.stack([1.0 - share, share], axis=1)
        classes = tf.tile(tf.constant([["no", "yes"]]), [tf.shape(share)[0], 1])
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": v1.saved_model.classification_signature_def(
                    examples, classes, scores
                ),
                "share": v1.saved_model.regression_signature_def(examples, share),
            },
        )
        builder.save()


@pytest.fixture(scope="module")
def classic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classic")
    export_classic(folder / "1")
    with EmbeddedServer(folder, port=0, rest_port=0) as server:
        yield server


@pytest.fixture(scope="module")
def predictions(classic):
    with grpc.insecure_channel(classic.address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def filled(request, shares, signature=""):
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = signature
    for share in shares:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(share)
    return request


def test_examples_are_classified(predictions):
    request = filled(classification_pb2.ClassificationRequest(), [0.25, 1.0])
    response = predictions.Classify(request, timeout=20)
    found = [
        [(one.label, one.score) for one in classifications.classes]
        for classifications in response.result.classifications
    ]
    assert found == [[("no", 0.75), ("yes", 0.25)], [("no", 0.0), ("yes", 1.0)]]
    assert response.model_spec.version.value == 1


def test_examples_are_regressed(predictions):
    request = filled(regression_pb2.RegressionRequest(), [0.25, 1.0], "share")
    regressions = predictions.Regress(request, timeout=20).result.regressions
    assert [one.value for one in regressions] == [0.25, 1.0]


def test_a_common_context_reaches_every_example(predictions):
    request = filled(regression_pb2.RegressionRequest(), [], "share")
    listed = request.input.example_list_with_context
    listed.context.features.feature["x"].float_list.value.append(0.5)
    listed.examples.add()
    listed.examples.add()
    regressions = predictions.Regress(request, timeout=20).result.regressions
    assert [one.value for one in regressions] == [0.5, 0.5]


def test_no_examples_are_refused(predictions):
    with pytest.raises(grpc.RpcError) as info:
        predictions.Classify(filled(classification_pb2.ClassificationRequest(), []), timeout=20)
    assert info.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_signature_of_the_other_kind_is_refused(predictions):
    with pytest.raises(grpc.RpcError) as info:
        predictions.Regress(filled(regression_pb2.RegressionRequest(), [0.5]), timeout=20)
    assert info.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Was: tensorflow/serving/classify" in info.value.details()


def test_rest_classifies_and_regresses(classic):
    def ask(method, content):
        url = f"{classic.rest_url}/v1/models/{MODEL_NAME}:{method}"
        with urllib.request.urlopen(url, json.dumps(content).encode(), timeout=20) as response:
            return json.load(response)

    examples = [{"x": 0.25}, {"x": [1.0]}]
    assert ask("classify", {"examples": examples}) == {
        "results": [[["no", 0.75], ["yes", 0.25]], [["no", 0.0], ["yes", 1.0]]]
    }
    asked = {"signature_name": "share", "examples": [{}, {}], "context": {"x": 0.5}}
    assert ask("regress", asked) == {"results": [0.5, 0.5]}
