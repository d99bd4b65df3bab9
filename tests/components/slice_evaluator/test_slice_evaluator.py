"""The real SliceEvaluator over tiny models whose answers are known."""

import tfx.v1 as tfx  # noqa: I001 before anything of TFMA

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from sklearn import metrics
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.slice_evaluator.answers import IdentifiedAnswers, by_patient
from components.slice_evaluator.component import SliceEvaluator
from components.slice_evaluator.confidence_intervals import confidence_intervals
from components.slice_evaluator.evaluation import read_evaluation
from components.slice_evaluator.executor import Executor
from components.slice_evaluator.figures import FIGURES
from components.slice_evaluator.gate import Bounds, Minimum
from components.slice_evaluator.figure_names import PATIENTS, SLICES
from components.slice_evaluator.paired_comparison import compare
from components.slice_evaluator.patient_bootstrap import intervals
from components.slice_evaluator.predictions import BASELINE_PREFIX, read_predictions
from transform import ct_example, prediction
from transform.schema import SCHEMA_FILE

pytestmark = pytest.mark.slow

THRESHOLD = 0.3
# Factor and offset of `MeanHu`.
RIGHT, OPPOSITE, DULL = (1.0, 0.0), (-1.0, 1.0), (0.5, 0.0)
LOW = Bounds(Minimum(0.5), Minimum(0.5), max_regression=0.02)
NONE = Bounds(Minimum(0.0), Minimum(0.0), max_regression=1.0)
RESAMPLES, SEED = 200, 5

# 60 patients, some of several slices; one has slices of both labels, and some say nothing of
# themselves.
_GENERATOR = np.random.default_rng(1)
PATIENTS_OF_SLICES = np.sort(_GENERATOR.integers(0, 60, 130))
LABELS = (PATIENTS_OF_SLICES % 5 < 2).astype(int)
LABELS[1] = 0
LABELS[2] = 1
SCORES = np.clip(0.25 * LABELS + _GENERATOR.uniform(0.0, 0.5, 130), 0.01, 0.99)
SEXES = {0: "F", 1: "male", 2: None}
AGES = {0: 35.0, 1: 64.0, 2: 81.5, 3: None}


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


def feature_of(value):
    if isinstance(value, str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


def slice_example(number, label, score, patient):
    values = {
        ct_example.IMAGE_ID: f"sliçe-{number}",
        ct_example.PATIENT_ID: f"patient-{patient}",
        ct_example.LABEL: int(label),
        ct_example.MEAN_HU: float(score),
        ct_example.CALIBRATED: int(number % 2),
        ct_example.SOURCE: "hospital é" if patient < 20 else "",
        ct_example.SEX: SEXES[patient % 3],
        ct_example.AGE: AGES[patient % 4],
    }
    feature = {name: feature_of(value) for name, value in values.items() if value is not None}
    return tf.train.Example(features=tf.train.Features(feature=feature))


def group_of(number, patient):
    return {
        "sex": {0: "F", 1: "M", 2: "unknown"}[patient % 3],
        "age": {0: "<40", 1: "60-79", 2: ">=80", 3: "unknown"}[patient % 4],
        "source": "hospital é" if patient < 20 else "unknown",
        "hounsfield": "calibrated" if number % 2 else "assumed",
    }


def artifact(artifact_type, folder, artifact_id):
    made = artifact_type()
    made.uri, made.id = str(folder), artifact_id
    folder.mkdir(parents=True, exist_ok=True)
    return made


def write_split(folder, split, labels, scores, patients):
    """The split in two files, so that bundles have something to merge."""
    (folder / f"Split-{split}").mkdir(parents=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    rows = list(enumerate(zip(labels, scores, patients, strict=True)))
    for part in range(2):
        path = folder / f"Split-{split}" / f"slices-{part}.gz"
        with tf.io.TFRecordWriter(str(path), options) as writer:
            for number, (label, score, patient) in rows[part::2]:
                example = slice_example(number, label, score, int(patient))
                writer.write(example.SerializeToString())


def export(folder, factor, offset):
    module = MeanHu(factor, offset)
    tf.saved_model.save(
        module,
        str(folder / "Format-Serving"),
        signatures={prediction.SERVING_DEFAULT: module.serving_default},
    )


def schema_without_pixels():
    """Ours, for examples that have no more than `slice_example` gives them."""
    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    optional = {ct_example.AGE, ct_example.SEX}
    there = {*slice_example(0, 0, 0.0, 0).features.feature} | optional
    for feature in [one for one in schema.feature if one.name not in there]:
        schema.feature.remove(feature)
    return text_format.MessageToString(schema)


def channel(artifact_type):
    return tfx.dsl.Channel(type=artifact_type)


@dataclasses.dataclass
class Evaluated:
    """What an evaluation left."""

    folder: Path
    blessed: bool

    @property
    def evaluation(self):
        return read_evaluation(self.folder)

    @property
    def failed(self):
        return [bound.metric for bound in self.evaluation.bounds if not bound.passed]


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory):
    """`(bounds, candidate, baseline, scores, workers) -> Evaluated` on the test split."""
    root = tmp_path_factory.mktemp("evaluated")
    schema = artifact(standard_artifacts.Schema, root / "schema", 6)
    (root / "schema" / "schema.pbtxt").write_text(schema_without_pixels())
    runs = iter(range(100))

    def run(bounds, candidate=RIGHT, baseline=None, *, scores=SCORES, workers=1):
        folder = root / str(next(runs))
        write_split(folder / "examples", ct_example.TEST, LABELS, scores, PATIENTS_OF_SLICES)
        # Slices of another split, all of them mistaken, must not count.
        write_split(folder / "examples", ct_example.EVAL, [1] * 9, [0.0] * 9, range(9))
        examples = artifact(standard_artifacts.Examples, folder / "examples", 2)
        examples.split_names = artifact_utils.encode_split_names([ct_example.EVAL, ct_example.TEST])
        evaluation = artifact(standard_artifacts.ModelEvaluation, folder / "evaluation", 3)
        blessing = artifact(standard_artifacts.ModelBlessing, folder / "blessing", 4)
        export(folder / "model", *candidate)
        inputs = {
            "examples": [examples],
            "schema": [schema],
            "model": [artifact(standard_artifacts.Model, folder / "model", 1)],
        }
        if baseline:
            export(folder / "baseline", *baseline)
            inputs["baseline_model"] = [artifact(standard_artifacts.Model, folder / "baseline", 5)]
        context = Executor.Context(
            beam_pipeline_args=["--runner=FnApiRunner", f"--direct_num_workers={workers}"]
            + ["--direct_running_mode=multi_threading"] * (workers > 1),
            tmp_dir=str(folder / "tmp"),
            unique_id="1",
        )
        component = SliceEvaluator(
            examples=channel(standard_artifacts.Examples),
            model=channel(standard_artifacts.Model),
            example_splits=[ct_example.TEST],
            bounds=bounds,
            resamples=RESAMPLES,
            seed=SEED,
            batch_size=7,
            code_version="1",
        )
        properties = {
            name: value for name, value in component.exec_properties.items() if value is not None
        }
        Executor(context).Do(
            inputs, {"evaluation": [evaluation], "blessing": [blessing]}, properties
        )
        blessed = blessing.get_int_custom_property("blessed") == 1
        left = [path.name for path in (folder / "blessing").iterdir()]
        assert left == ["BLESSED" if blessed else "NOT_BLESSED"]
        assert read_evaluation(folder / "evaluation").passed == blessed
        return Evaluated(folder / "evaluation", blessed)

    return run


@pytest.fixture(scope="module")
def passed(evaluate):
    return evaluate(LOW)


@pytest.fixture(scope="module")
def compared(evaluate):
    """With a baseline that misses more, and two threads."""
    return evaluate(NONE, candidate=RIGHT, baseline=DULL, workers=2)


def in_order(predictions):
    return sorted(predictions, key=lambda one: int(one.id.split("-")[1]))


@pytest.mark.parametrize("run", ["passed", "compared"])
def test_each_test_slice_is_predicted_once_with_its_label_and_groups(run, request):
    predictions = in_order(read_predictions(request.getfixturevalue(run).folder))
    assert [one.id for one in predictions] == [f"sliçe-{number}" for number in range(130)]
    assert [one.label for one in predictions] == LABELS.tolist()
    assert [one.patient_id for one in predictions] == [f"patient-{n}" for n in PATIENTS_OF_SLICES]
    assert [one.probability for one in predictions] == pytest.approx(SCORES.tolist(), abs=1e-6)
    assert [one.decision for one in predictions] == [int(one >= THRESHOLD) for one in SCORES]
    assert {round(one.threshold, 6) for one in predictions} == {THRESHOLD}
    groups = [group_of(*row) for row in enumerate(PATIENTS_OF_SLICES.tolist())]
    assert [one.groups for one in predictions] == groups


def test_the_baselines_predictions_are_kept_apart(passed, compared):
    predictions = in_order(read_predictions(compared.folder, BASELINE_PREFIX))
    assert [one.id for one in predictions] == [f"sliçe-{number}" for number in range(130)]
    wanted = (0.5 * SCORES).tolist()
    assert [one.probability for one in predictions] == pytest.approx(wanted, abs=1e-6)
    assert not list(read_predictions(passed.folder, BASELINE_PREFIX))


def calibration_error(label, probability):
    """Ten equal bins, each weighted by its size."""
    label, probability = np.array(label), np.array(probability)
    bins = np.minimum((probability * 10).astype(int), 9)
    return sum(
        abs(np.mean(probability[bins == one]) - np.mean(label[bins == one])) * np.mean(bins == one)
        for one in np.unique(bins)
    )


def reference(label, decision, probability):
    """What scikit-learn says; NaN where it is undefined."""
    nan = {"zero_division": np.nan}
    both = len(set(label)) == 2
    return {
        "sensitivity": metrics.recall_score(label, decision, **nan),
        "specificity": metrics.recall_score(label, decision, pos_label=0, **nan),
        "ppv": metrics.precision_score(label, decision, **nan),
        "npv": metrics.precision_score(label, decision, pos_label=0, **nan),
        "accuracy": metrics.accuracy_score(label, decision),
        "f1": metrics.f1_score(label, decision, **nan),
        "f1_negative": metrics.f1_score(label, decision, pos_label=0, **nan),
        "auc": metrics.roc_auc_score(label, probability) if both else np.nan,
        "average_precision": metrics.average_precision_score(label, probability),
        "brier": metrics.brier_score_loss(label, probability),
        "calibration_error": calibration_error(label, probability),
    }


def patients_of(predictions):
    """Label, decision and probability of each patient, by hand."""
    rows = {}
    for one in predictions:
        rows.setdefault(one.patient_id, []).append(one)
    means = [np.mean([one.probability for one in some]) for some in rows.values()]
    labels = [max(one.label for one in some) for some in rows.values()]
    return labels, [int(mean >= predictions[0].threshold) for mean in means], means


def assert_figures(part, predictions):
    slices = [[getattr(one, name) for one in predictions] for name in ("label", "decision")]
    slices.append([one.probability for one in predictions])
    for unit, columns in ((SLICES, slices), (PATIENTS, patients_of(predictions))):
        found = part.of(unit)
        assert found.count == len(columns[0])
        values = {name: figure.value for name, figure in found.figures.items()}
        assert values == pytest.approx(reference(*columns), abs=1e-6, nan_ok=True)
        confusion = metrics.confusion_matrix(*columns[:2], labels=[0, 1]).ravel().tolist()
        assert [found.confusion[name] for name in ("tn", "fp", "fn", "tp")] == confusion


@pytest.mark.parametrize("run", ["passed", "compared"])
def test_every_figure_is_scikit_learns_of_slices_and_patients_overall_and_in_groups(run, request):
    evaluated = request.getfixturevalue(run)
    evaluation = evaluated.evaluation
    predictions = list(read_predictions(evaluated.folder))
    assert_figures(evaluation.overall, predictions)
    # None of them is trivial, and none is what a threshold of 0.5 would give.
    values = evaluation.overall.slices.figures
    assert 0.5 < values["specificity"].value < 0.95
    at_half = [int(one.probability >= 0.5) for one in predictions]
    labels = [one.label for one in predictions]
    assert metrics.accuracy_score(labels, at_half) != values["accuracy"].value
    assert evaluation.overall.patients_of_both_labels == 1
    assert round(evaluation.threshold, 6) == THRESHOLD
    groups = evaluation.groups
    assert {grouping: set(parts) for grouping, parts in groups.items()} == {
        "sex": {"F", "M", "unknown"},
        "age": {"<40", "60-79", ">=80", "unknown"},
        "source": {"hospital é", "unknown"},
        "hounsfield": {"calibrated", "assumed"},
    }
    for grouping, parts in groups.items():
        for group, part in parts.items():
            those = [one for one in predictions if one.groups[grouping] == group]
            assert_figures(part, those)
            assert part.small == (part.patients.count < 20)
    small = [part.small for parts in groups.values() for part in parts.values()]
    assert set(small) == {True, False}


def test_the_intervals_are_those_of_a_bootstrap_over_patients(passed):
    answers = IdentifiedAnswers.of(read_predictions(passed.folder)).answers
    overall = passed.evaluation.overall
    for unit, rows in ((SLICES, answers), (PATIENTS, by_patient(answers))):
        ends = {
            name: (figure.lower, figure.upper) for name, figure in overall.of(unit).figures.items()
        }
        wanted = confidence_intervals(rows, RESAMPLES, SEED)
        assert ends == {name: wanted[name] for name in FIGURES}
        # Enough patients are right and wrong here for the bootstrap alone.
        plain = intervals(rows, RESAMPLES, SEED)
        assert ends["specificity"] == plain["specificity"]
        assert ends["auc"] == plain["auc"]
        assert ends["auc"][0] < overall.of(unit).figures["auc"].value < ends["auc"][1]


def test_models_are_compared_on_the_same_slices_and_patients(passed, compared):
    candidate = IdentifiedAnswers.of(read_predictions(compared.folder)).answers
    baseline = IdentifiedAnswers.of(read_predictions(compared.folder, BASELINE_PREFIX)).answers
    comparison = compared.evaluation.overall.comparison
    assert comparison.slices == compare(baseline, candidate, RESAMPLES, SEED)
    assert comparison.patients == compare(
        by_patient(baseline), by_patient(candidate), RESAMPLES, SEED
    )
    assert comparison.slices.sensitivity.lower > 0.0
    assert comparison.slices.mcnemar.only_candidate_right > 0
    assert passed.evaluation.overall.comparison is None


def test_what_a_model_is_compared_with_changes_none_of_its_own_figures(passed, compared):
    with_baseline = dataclasses.replace(compared.evaluation.overall, comparison=None)
    assert with_baseline == passed.evaluation.overall


def test_the_record_is_json_without_nan(evaluate):
    """A model that calls nothing positive has no positive predictive value."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    silent = evaluate(NONE, candidate=(0.0, 0.1))
    values = json.loads((silent.folder / "evaluation.json").read_text(), parse_constant=refuse)
    assert values["overall"]["slices"]["figures"]["ppv"]["value"] is None
    assert np.isnan(silent.evaluation.overall.slices.figures["ppv"].value)


def test_a_model_that_keeps_every_bound_is_blessed(passed):
    gate = passed.evaluation.gate
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
    evaluated = evaluate(dataclasses.replace(LOW, **{f"min_{failing}": Minimum(0.999)}))
    assert not evaluated.blessed
    assert evaluated.failed == [failing]


def test_a_figure_that_just_reaches_its_bound_passes(evaluate, passed):
    figures = passed.evaluation.gate.metrics
    bounds = Bounds(Minimum(figures["sensitivity"]), Minimum(figures["specificity"]), 0.02)
    assert evaluate(bounds).blessed


def test_a_bound_on_the_lower_end_in_every_group_refuses_what_the_figure_alone_passes(
    evaluate, passed
):
    overall = passed.evaluation.overall
    specificity = overall.patients.figures["specificity"]
    on_value = Minimum(specificity.lower + 0.01, unit=PATIENTS)
    on_lower_end = dataclasses.replace(on_value, of_lower_end=True, every_group_of=15)
    assert evaluate(dataclasses.replace(LOW, min_specificity=on_value)).blessed
    refused = evaluate(dataclasses.replace(LOW, min_specificity=on_lower_end))
    assert not refused.blessed
    names = {bound.metric for bound in refused.evaluation.bounds}
    assert "patient_specificity_lower" in refused.failed
    assert "patient_specificity_lower[sex=F]" in names
    counts = {
        f"patient_specificity_lower[{grouping}={group}]": part.patients.count
        for grouping, parts in refused.evaluation.groups.items()
        for group, part in parts.items()
    }
    assert {name for name, count in counts.items() if count >= 15} == {
        name for name in names if "[" in name
    }
    assert min(counts.values()) < 15


def test_a_candidate_worse_than_the_blessed_model_is_refused(evaluate, passed):
    bounds = dataclasses.replace(NONE, max_regression=0.02)
    worse = evaluate(bounds, candidate=OPPOSITE, baseline=RIGHT)
    gate = worse.evaluation.gate
    assert not worse.blessed
    assert worse.failed == ["auc_change"]
    auc = passed.evaluation.gate.metrics["auc"]
    # The opposite opinion has the opposite AUC; the figures are the candidate's.
    assert gate.metrics["auc"] == pytest.approx(1.0 - auc, abs=1e-6)
    assert gate.bounds[-1].at_least == -0.02
    assert gate.bounds[-1].value == pytest.approx(1.0 - 2.0 * auc, abs=1e-6)


def test_a_candidate_as_good_as_the_blessed_model_is_no_regression(evaluate):
    """Even where nothing at all may be lost."""
    # The same order of the slices, other probabilities.
    bounds = dataclasses.replace(LOW, max_regression=0.0)
    same = evaluate(bounds, candidate=RIGHT, baseline=(0.5, 0.25))
    change = same.evaluation.bounds[-1]
    assert same.blessed
    assert (change.metric, change.passed) == ("auc_change", True)
    assert change.value == pytest.approx(0.0, abs=1e-6)


def test_a_result_too_good_to_be_true_is_refused_until_somebody_accepts_it(evaluate):
    perfect = np.where(LABELS == 1, 0.9, 0.1)
    refused = evaluate(LOW, scores=perfect)
    assert not refused.blessed
    assert refused.failed == ["leak_alarm"]
    alarm = refused.evaluation.leak_alarm
    assert (alarm.suspicious, alarm.accepted, alarm.accuracy) == (True, False, 1.0)
    assert "is above gate.leak_alarm (0.98)" in alarm.says
    assert any("copies" in reason for reason in alarm.reasons)
    # Nothing was missed, which proves no perfect sensitivity.
    assert 0.8 < refused.evaluation.overall.slices.figures["sensitivity"].lower < 0.95
    accepted = evaluate(dataclasses.replace(LOW, accept_leak_alarm=True), scores=perfect)
    assert accepted.blessed
    assert accepted.failed == []
    assert accepted.evaluation.leak_alarm.accepted
    assert evaluate(dataclasses.replace(LOW, leak_alarm=None), scores=perfect).blessed
