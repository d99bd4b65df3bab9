"""The real SliceEvaluator over tiny models whose answers are known."""

import tfx.v1 as tfx  # noqa: F401, I001 before anything of TFMA

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import json_utils, proto_utils

from components.slice_evaluator.executor import Executor
from components.slice_evaluator.gate import Bounds, make_eval_config, read_gate
from components.slice_evaluator.predictions import read_predictions
from transform import ct_example, prediction

pytestmark = pytest.mark.slow

THRESHOLD = 0.3
# Factor and offset of `MeanHu`.
RIGHT, OPPOSITE = (1.0, 0.0), (-1.0, 1.0)
LOW = Bounds(min_sensitivity=0.5, min_specificity=0.5, max_regression=0.02)

_GENERATOR = np.random.default_rng(1)
LABELS = [1] * 12 + [0] * 18
SCORES = np.clip(0.25 * np.array(LABELS) + _GENERATOR.uniform(0.0, 0.5, 30), 0.01, 0.99)


class MeanHu(tf.Module):
    """Says that the probability is what `stats/mean_hu` says, times a sign and plus an offset.

    The operating point is not TFMA's usual 0.5, so that figures taken at 0.5 would show.
    """

    def __init__(self, factor, offset):
        super().__init__()
        self._factor, self._offset = factor, offset

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serving_default(self, examples):
        score = tf.io.parse_example(
            examples, {ct_example.MEAN_HU: tf.io.FixedLenFeature([], tf.float32)}
        )[ct_example.MEAN_HU]
        probability = self._factor * score + self._offset
        return {
            prediction.PROBABILITY: probability,
            prediction.DECISION: tf.cast(probability >= THRESHOLD, tf.int64),
            prediction.THRESHOLD: tf.fill(tf.shape(probability), THRESHOLD),
        }


def slice_example(number, label, score):
    def of_bytes(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    feature = {
        ct_example.IMAGE_ID: of_bytes(f"sliçe-{number}"),
        ct_example.PATIENT_ID: of_bytes(f"patient-{number // 2}"),
        ct_example.LABEL: tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        ct_example.MEAN_HU: tf.train.Feature(float_list=tf.train.FloatList(value=[score])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature))


def artifact(artifact_type, folder, artifact_id):
    made = artifact_type()
    made.uri, made.id = str(folder), artifact_id
    folder.mkdir(parents=True, exist_ok=True)
    return made


def write_split(folder, split, labels, scores):
    (folder / f"Split-{split}").mkdir(parents=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(folder / f"Split-{split}" / "slices.gz"), options) as writer:
        for number, (label, score) in enumerate(zip(labels, scores, strict=True)):
            writer.write(slice_example(number, label, float(score)).SerializeToString())


def export(folder, factor, offset):
    module = MeanHu(factor, offset)
    tf.saved_model.save(
        module,
        str(folder / "Format-Serving"),
        signatures={prediction.SERVING_DEFAULT: module.serving_default},
    )


@dataclasses.dataclass
class Evaluated:
    """What an evaluation left."""

    folder: Path
    blessed: bool


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory):
    """`(bounds, candidate, baseline) -> Evaluated` on the test split."""
    root = tmp_path_factory.mktemp("evaluated")
    # Slices of another split, all of them mistaken, must not count.
    write_split(root / "examples", ct_example.TEST, LABELS, SCORES)
    write_split(root / "examples", ct_example.EVAL, [1] * 9, [0.0] * 9)
    examples = artifact(standard_artifacts.Examples, root / "examples", 2)
    examples.split_names = artifact_utils.encode_split_names([ct_example.EVAL, ct_example.TEST])
    runs = iter(range(100))

    def run(bounds, candidate=RIGHT, baseline=None):
        folder = root / str(next(runs))
        evaluation = artifact(standard_artifacts.ModelEvaluation, folder / "evaluation", 3)
        blessing = artifact(standard_artifacts.ModelBlessing, folder / "blessing", 4)
        export(folder / "model", *candidate)
        inputs = {
            "examples": [examples],
            "model": [artifact(standard_artifacts.Model, folder / "model", 1)],
        }
        if baseline:
            export(folder / "baseline", *baseline)
            inputs["baseline_model"] = [artifact(standard_artifacts.Model, folder / "baseline", 5)]
        context = Executor.Context(
            beam_pipeline_args=["--runner=FnApiRunner"],
            tmp_dir=str(folder / "tmp"),
            unique_id="1",
        )
        Executor(context).Do(
            inputs,
            {"evaluation": [evaluation], "blessing": [blessing]},
            {
                "eval_config": proto_utils.proto_to_json(make_eval_config(bounds, 7)),
                "example_splits": json_utils.dumps([ct_example.TEST]),
                "fairness_indicator_thresholds": None,
            },
        )
        blessed = blessing.get_int_custom_property("blessed") == 1
        assert (folder / "blessing" / ("BLESSED" if blessed else "NOT_BLESSED")).exists()
        return Evaluated(folder / "evaluation", blessed)

    return run


@pytest.fixture(scope="module")
def passed(evaluate):
    return evaluate(LOW)


def test_each_test_slice_is_predicted_once_with_its_own_label(passed):
    predictions = sorted(read_predictions(passed.folder), key=lambda one: int(one.id.split("-")[1]))
    assert [one.id for one in predictions] == [f"sliçe-{number}" for number in range(30)]
    assert [one.label for one in predictions] == LABELS
    assert [one.patient_id for one in predictions] == [f"patient-{n // 2}" for n in range(30)]
    assert [one.probability for one in predictions] == pytest.approx(SCORES.tolist(), abs=1e-6)
    assert [one.decision for one in predictions] == [int(one >= THRESHOLD) for one in SCORES]
    assert {round(one.threshold, 6) for one in predictions} == {THRESHOLD}


def test_the_figures_are_those_scikit_learn_computes_from_the_predictions(passed):
    predictions = list(read_predictions(passed.folder))
    label = [one.label for one in predictions]
    decision = [one.decision for one in predictions]
    figures = read_gate(passed.folder, LOW).metrics
    wanted = {
        "sensitivity": metrics.recall_score(label, decision),
        "specificity": metrics.recall_score(label, decision, pos_label=0),
        "ppv": metrics.precision_score(label, decision),
        "npv": metrics.precision_score(label, decision, pos_label=0),
        "accuracy": metrics.accuracy_score(label, decision),
        "f1": metrics.f1_score(label, decision),
        "example_count": 30.0,
    }
    # None of them is trivial, and none is what a threshold of 0.5 would give.
    assert 0.5 < wanted["specificity"] < 0.95
    at_half = [int(one.probability >= 0.5) for one in predictions]
    assert metrics.accuracy_score(label, at_half) != wanted["accuracy"]
    assert {name: figures[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    # TFMA sums the curve in 10,000 steps.
    wanted_auc = metrics.roc_auc_score(label, [one.probability for one in predictions])
    assert figures["auc"] == pytest.approx(wanted_auc, abs=1e-3)
    assert set(figures) == {*wanted, "auc"}


def test_a_model_that_keeps_every_bound_is_blessed(passed):
    gate = read_gate(passed.folder, LOW)
    assert passed.blessed
    assert gate.passed
    assert [(one.metric, one.at_least, one.passed) for one in gate.bounds] == [
        ("sensitivity", 0.5, True),
        ("specificity", 0.5, True),
    ]
    assert [one.value for one in gate.bounds] == [
        gate.metrics["sensitivity"],
        gate.metrics["specificity"],
    ]


@pytest.mark.parametrize("failing", ["sensitivity", "specificity"])
def test_one_broken_bound_is_enough_to_refuse_and_is_named(evaluate, failing):
    bounds = dataclasses.replace(LOW, **{f"min_{failing}": 0.999})
    evaluated = evaluate(bounds)
    gate = read_gate(evaluated.folder, bounds)
    assert not evaluated.blessed
    assert not gate.passed
    assert [one.metric for one in gate.bounds if not one.passed] == [failing]


def test_a_figure_that_just_reaches_its_bound_passes(evaluate, passed):
    figures = read_gate(passed.folder, LOW).metrics
    bounds = Bounds(figures["sensitivity"], figures["specificity"], 0.02)
    assert evaluate(bounds).blessed


def test_a_candidate_worse_than_the_blessed_model_is_refused(evaluate, passed):
    bounds = Bounds(min_sensitivity=0.0, min_specificity=0.0, max_regression=0.02)
    worse = evaluate(bounds, candidate=OPPOSITE, baseline=RIGHT)
    gate = read_gate(worse.folder, bounds)
    assert not worse.blessed
    assert [one.metric for one in gate.bounds if not one.passed] == ["auc_change"]
    auc = read_gate(passed.folder, LOW).metrics["auc"]
    # The opposite opinion has the opposite AUC; the figures are the candidate's.
    assert gate.metrics["auc"] == pytest.approx(1.0 - auc, abs=2e-3)
    assert gate.bounds[-1].at_least == -0.02
    assert gate.bounds[-1].value == pytest.approx(1.0 - 2.0 * auc, abs=2e-3)


def test_a_candidate_as_good_as_the_blessed_model_is_no_regression(evaluate):
    """Even where nothing at all may be lost; and the predictions written are the candidate's."""
    bounds = dataclasses.replace(LOW, max_regression=0.0)
    # The same order of the slices, other probabilities.
    same = evaluate(bounds, candidate=RIGHT, baseline=(0.5, 0.25))
    gate = read_gate(same.folder, bounds)
    assert same.blessed
    assert (gate.bounds[-1].metric, gate.bounds[-1].passed) == ("auc_change", True)
    assert gate.bounds[-1].value == pytest.approx(0.0, abs=1e-6)
    predictions = {one.id: one.probability for one in read_predictions(same.folder)}
    assert len(predictions) == 30
    assert predictions["sliçe-0"] == pytest.approx(SCORES[0], abs=1e-6)
