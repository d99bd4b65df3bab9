"""A candidate is served in a process of its own, and pushed only if it answers as evaluated."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf
import tfx.v1 as tfx
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.serving_validator.candidate_server import UnservableModelError, candidate_server
from components.serving_validator.component import ServingValidator
from components.serving_validator.executor import Executor, validate
from components.serving_validator.outcome import read_outcome
from components.serving_validator.questions import as_picture, check_other_signatures
from serving.client import Client
from serving.server import EmbeddedServer
from transform import ct_example, prediction
from transform.ct_example import SliceFacts, StoredSlice, make_example
from transform.errors import CtnetError
from transform.hounsfield import decode_stored
from transform.picture_graph import decode_picture

pytestmark = pytest.mark.slow

WINDOW = (-1000.0, 400.0)

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
    return validate(str(folder), slices(), evaluated, max_latency_ms, WINDOW).reason


def test_a_model_that_answers_as_it_was_evaluated_is_fine(model):
    outcome = validate(str(model), slices(), EVALUATED, 60_000.0, WINDOW)
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
    outcome = validate(str(model), slices(), EVALUATED, 1e-3, WINDOW)
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
    outcome = validate(str(model), [], EVALUATED, 60_000.0, WINDOW)
    assert outcome.reason == "the test split has no slice to ask about"


def test_a_model_that_refuses_its_own_warm_up_does_not_load(tmp_path):
    folder = export(tmp_path / "model")
    write_warm_up(folder, "wrong")
    assert reason(folder).startswith("the server did not start: ")


def test_a_server_that_does_not_begin_to_answer_is_told_with_the_last_line_of_its_log(
    model, tmp_path, monkeypatch
):
    loading = tmp_path / "loading"
    loading.write_text("#!/bin/sh\necho first >&2\necho loading version 1 >&2\nexec sleep 600\n")
    loading.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(loading))
    with (
        pytest.raises(UnservableModelError) as info,
        candidate_server(str(model), start_seconds=2.5),
    ):
        pytest.fail("nothing answers")
    assert str(info.value) == (
        "the server did not begin to answer within 2.5 s; the last line of its log: "
        "loading version 1"
    )


SIDE = 8


class Whole(tf.Module):
    """Has all signatures; the probability is how far the mean of a slice is through the window."""

    def __init__(self, flaw=None):
        super().__init__()
        self.flaw = flaw

    def _outputs(self, signature, levels):
        count = tf.size(levels)
        probability = levels + (0.01 if self.flaw == f"{signature} probability" else 0.0)
        if self.flaw == f"{signature} nan":
            probability *= float("nan")
        threshold = 0.6 if self.flaw == f"{signature} threshold" else 0.5
        answer = {
            prediction.PROBABILITY: probability,
            prediction.DECISION: tf.cast(probability >= threshold, tf.int64),
            prediction.THRESHOLD: tf.fill([count], threshold),
        }
        if signature.startswith("explain"):
            side = SIDE // 2 if self.flaw == f"{signature} side" else SIDE
            heat = 1.5 if self.flaw == f"{signature} range" else 0.5
            answer[prediction.HEATMAP] = tf.fill([count, side, side], heat)
        return answer

    def _levels(self, examples):
        number = tf.io.FixedLenFeature([], tf.float32)
        spec = {
            ct_example.IMAGE: tf.io.FixedLenFeature([], tf.string),
            ct_example.SLOPE: number,
            ct_example.INTERCEPT: number,
        }
        features = tf.io.parse_example(examples, spec)
        mean = tf.map_fn(
            lambda encoded: tf.reduce_mean(decode_stored(encoded)),
            features[ct_example.IMAGE],
            fn_output_signature=tf.float32,
        )
        hounsfield = mean * features[ct_example.SLOPE] + features[ct_example.INTERCEPT]
        return (hounsfield - WINDOW[0]) / (WINDOW[1] - WINDOW[0])

    def _picture_levels(self, image_bytes):
        def mean(encoded):
            grey, white = decode_picture(encoded)
            return tf.reduce_mean(tf.cast(grey, tf.float32)) / white

        return tf.map_fn(mean, image_bytes, fn_output_signature=tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.EXAMPLES)])
    def serving_default(self, examples):
        return self._outputs("serving_default", self._levels(examples))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.IMAGE_BYTES)])
    def predict_image(self, image_bytes):
        return self._outputs("predict_image", self._picture_levels(image_bytes))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.EXAMPLES)])
    def explain(self, examples):
        return self._outputs("explain", self._levels(examples))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.IMAGE_BYTES)])
    def explain_image(self, image_bytes):
        return self._outputs("explain_image", self._picture_levels(image_bytes))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.EXAMPLES)])
    def transform_features(self, examples):
        return {"image": tf.zeros([tf.size(examples), SIDE, SIDE, 1])}

    def export(self, folder):
        names = ("serving_default", "predict_image", "explain", "explain_image")
        signatures = {name: getattr(self, name) for name in (*names, "transform_features")}
        tf.saved_model.save(self, str(folder), signatures=signatures)


def scanned(hounsfield, number):
    """A slice of true HU, of another offset and slope than the window's."""
    stored = np.rint((hounsfield + 1024.0) * 2.0).astype(np.uint16)
    return make_example(StoredSlice(stored, 0.5, -1024.0, True), SliceFacts(f"slice-{number}", "a"))


def scans():
    # Lung and air far below the window, bone above it.
    levels = np.random.default_rng(0).uniform(-1024.0, 700.0, (2, 16, 16))
    return [scanned(one, number) for number, one in enumerate(levels)]


def ask_other_signatures(folder, window=WINDOW):
    with EmbeddedServer(folder, port=0) as server, Client(server.address) as client:
        examples = scans()
        check_other_signatures(client, examples, client.predict_examples(examples), window)


def test_a_slice_and_its_picture_have_the_same_stored_values():
    (one, *_) = scans()
    picture, ingested = as_picture(one, WINDOW)
    grey = tf.io.decode_png(picture).numpy()
    assert grey.dtype == np.uint8
    features = ingested.features.feature
    encoded = features[ct_example.IMAGE].bytes_list.value[0]
    assert (decode_stored(encoded).numpy() == grey).all()
    slope = features[ct_example.SLOPE].float_list.value[0]
    intercept = features[ct_example.INTERCEPT].float_list.value[0]
    assert (intercept, 255 * slope + intercept) == pytest.approx(WINDOW)
    assert 0 < (grey == 0).mean() < 0.1
    assert 0.1 < (grey == 255).mean() < 0.3


def test_signatures_that_agree_are_fine(tmp_path):
    Whole().export(tmp_path / "1")
    ask_other_signatures(tmp_path)


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ("predict_image probability", "signature 'predict_image' gives slice slice-0 the prob"),
        ("predict_image threshold", "signature 'predict_image' gives slice slice-0 the threshold"),
        ("predict_image nan", "of signature 'predict_image', the probability nan is not in"),
        ("explain probability", "signature 'explain' gives slice slice-0 the probability"),
        (
            "explain side",
            r"signature 'explain' gives a heat map of \(4, 4\) for an input of 8 by 8",
        ),
        ("explain range", "did not give a heatmap with values from 0 to 1"),
        ("explain_image probability", "signature 'explain_image' gives slice slice-0 the prob"),
        ("explain_image side", "signature 'explain_image' gives a heat map"),
    ],
)
def test_a_signature_that_answers_otherwise_is_named(tmp_path, flaw, said):
    Whole(flaw).export(tmp_path / "1")
    with pytest.raises(CtnetError, match=said) as info:
        ask_other_signatures(tmp_path)
    assert "\n" not in str(info.value)


def test_pictures_that_are_read_under_another_window_are_noticed(tmp_path):
    Whole().export(tmp_path / "1")
    with pytest.raises(UnservableModelError, match="'predict_image' gives slice slice-0"):
        ask_other_signatures(tmp_path, (-1350.0, 150.0))


def test_a_model_is_refused_for_what_its_other_signatures_answer(tmp_path):
    Whole("explain_image nan").export(tmp_path / "model")
    examples = scans()
    evaluated = {}
    for number, one in enumerate(examples):
        (level,) = Whole()._levels(tf.constant([one.SerializeToString()])).numpy()
        evaluated[f"slice-{number}"] = float(level)
    outcome = validate(str(tmp_path / "model"), examples, evaluated, 60_000.0, WINDOW)
    assert outcome.reason == ("of signature 'explain_image', the probability nan is not in [0, 1]")
    assert outcome.largest_difference < 1e-6


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
        window=WINDOW,
        code_version="1",
    )
    Executor().Do(inputs, {"blessing": [blessing]}, component.exec_properties)
    left = sorted(path.name for path in (tmp_path / "blessing").iterdir())
    assert left == sorted([marker, "serving_validation.json"])
    assert blessing.get_int_custom_property("blessed") == blessed
    assert (read_outcome(tmp_path / "blessing").reason is None) == bool(blessed)
