"""A candidate is served in a process of its own, and pushed only if it answers as evaluated."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tfx.v1 as tfx
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.serving_validator.component import ServingValidator
from components.serving_validator.executor import Executor, validate
from components.serving_validator.outcome import read_outcome
from transform import ct_example, prediction
from transform.ct_example import SliceFacts, StoredSlice, make_example

pytestmark = pytest.mark.slow

LEVELS = (0.2, 0.7, 0.4)


class Level(tf.Module):
    """Says that the probability is what the intercept of a slice codes."""

    def __init__(self, threshold=0.5, decide_wrongly=False, die=False):
        super().__init__()
        self.threshold, self.wrong, self.die = threshold, decide_wrongly, die

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.EXAMPLES)])
    def serving_default(self, examples):
        spec = {ct_example.INTERCEPT: tf.io.FixedLenFeature([], tf.float32)}
        probability = tf.io.parse_example(examples, spec)[ct_example.INTERCEPT] / 1000.0
        if self.die:
            with tf.control_dependencies([tf.raw_ops.Abort(error_msg="the graph gave up")]):
                probability = tf.identity(probability)
        decided = probability < self.threshold if self.wrong else probability >= self.threshold
        return {
            prediction.PROBABILITY: probability,
            prediction.DECISION: tf.cast(decided, tf.int64),
            prediction.THRESHOLD: tf.fill(tf.shape(probability), self.threshold),
        }


def slices():
    stored = np.zeros((4, 4), np.uint16)
    return [
        make_example(
            StoredSlice(stored, 1.0, 1000.0 * level, True),
            SliceFacts(f"slice-{number}", "a", label=1),
        )
        for number, level in enumerate(LEVELS)
    ]


EVALUATED = {f"slice-{number}": level for number, level in enumerate(LEVELS)}


def export(folder, **settings):
    module = Level(**settings)
    signatures = {prediction.SERVING_DEFAULT: module.serving_default}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def write_warm_up(model, signature):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = prediction.MODEL_NAME
    request.model_spec.signature_name = signature
    asked = [one.SerializeToString() for one in slices()[:1]]
    request.inputs[prediction.EXAMPLES].CopyFrom(tf.make_tensor_proto(asked, tf.string))
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    path = model / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = export(tmp_path_factory.mktemp("sound") / "model")
    write_warm_up(folder, "serving_default")
    return folder


def reason(folder, evaluated=EVALUATED, max_latency_ms=60_000.0):
    return validate(str(folder), slices(), evaluated, max_latency_ms).reason


def test_a_model_that_answers_as_it_was_evaluated_is_fine(model):
    outcome = validate(str(model), slices(), EVALUATED, 60_000.0)
    assert outcome.reason is None
    assert outcome.questions == 3
    assert 0.0 <= outcome.largest_difference < 1e-6
    assert outcome.median_ms > 0.0


def test_another_answer_than_the_evaluation_had_is_named(model):
    line = reason(model, {**EVALUATED, "slice-1": 0.71})
    assert line == (
        "slice slice-1 is served the probability 0.700000, and the evaluation had 0.710000"
    )


def test_a_slice_that_was_not_evaluated_is_named(model):
    assert reason(model, {"slice-0": 0.2}) == "the evaluation has no prediction of slice slice-1"


def test_a_model_that_is_too_slow_is_named_with_its_time(model):
    outcome = validate(str(model), slices(), EVALUATED, 1e-3)
    assert outcome.reason == (
        f"a slice takes {outcome.median_ms:.0f} ms, more than serving.max_latency_ms (0.001)"
    )


def test_a_decision_that_contradicts_its_probability_is_named(tmp_path):
    line = reason(export(tmp_path / "model", decide_wrongly=True))
    assert line.startswith("the decision 1 contradicts the probability 0.2")


def test_a_model_that_takes_the_server_down_is_one_line(tmp_path):
    line = reason(export(tmp_path / "model", die=True))
    assert line.startswith("the server ended with exit code -")
    assert "\n" not in line


def test_a_model_that_does_not_load_is_one_line(tmp_path):
    folder = export(tmp_path / "model")
    (folder / "saved_model.pb").write_bytes(b"\x00damaged")
    line = reason(folder)
    assert line.startswith(f"the server did not start: cannot load the model version {folder} ")
    assert "\n" not in line


def test_no_slice_to_ask_about_is_one_line(model):
    outcome = validate(str(model), [], EVALUATED, 60_000.0)
    assert outcome.reason == "the test split has no slice to ask about"


def test_a_model_that_refuses_its_own_warm_up_does_not_load(tmp_path):
    folder = export(tmp_path / "model")
    write_warm_up(folder, "wrong")
    assert reason(folder).startswith("the server did not start: ")


def artifact(artifact_type, folder, artifact_id):
    made = artifact_type()
    made.uri, made.id = str(folder), artifact_id
    folder.mkdir(parents=True, exist_ok=True)
    return made


@pytest.fixture
def inputs(tmp_path):
    examples = artifact(standard_artifacts.Examples, tmp_path / "examples", 1)
    examples.split_names = artifact_utils.encode_split_names([ct_example.TEST])
    split = tmp_path / "examples" / "Split-test"
    split.mkdir()
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(split / "slices.gz"), options) as writer:
        for one in slices():
            writer.write(one.SerializeToString())
    trained = artifact(standard_artifacts.Model, tmp_path / "trained", 2)
    export(tmp_path / "trained" / "Format-Serving")
    evaluation = artifact(standard_artifacts.ModelEvaluation, tmp_path / "evaluation", 3)
    lines = [
        {"id": name, "patient_id": "a", "label": 1, "probability": level}
        | {"decision": int(level >= 0.5), "threshold": 0.5}
        for name, level in EVALUATED.items()
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "evaluation" / "predictions-0.jsonl").write_text(text)
    return {"model": [trained], "examples": [examples], "evaluation": [evaluation]}


@pytest.mark.parametrize(
    ("max_latency_ms", "marker", "blessed"),
    [(60_000.0, "INFRA_BLESSED", 1), (1e-3, "INFRA_NOT_BLESSED", 0)],
)
def test_the_blessing_is_what_tfx_s_pusher_reads(inputs, tmp_path, max_latency_ms, marker, blessed):
    blessing = artifact(standard_artifacts.InfraBlessing, tmp_path / "blessing", 4)
    component = ServingValidator(
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
        examples=tfx.dsl.Channel(type=standard_artifacts.Examples),
        evaluation=tfx.dsl.Channel(type=standard_artifacts.ModelEvaluation),
        max_latency_ms=max_latency_ms,
        code_version="1",
    )
    Executor().Do(inputs, {"blessing": [blessing]}, component.exec_properties)
    left = sorted(path.name for path in (tmp_path / "blessing").iterdir())
    assert left == sorted([marker, "serving_validation.json"])
    assert blessing.get_int_custom_property("blessed") == blessed
    assert (read_outcome(tmp_path / "blessing").reason is None) == bool(blessed)
