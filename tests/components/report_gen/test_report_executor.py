import tfx.v1 as tfx  # noqa: I001 before anything of TFMA

import datetime
import json

import pytest
import tensorflow as tf
from tfx.types import artifact_utils
from tfx.types import standard_artifacts

from components.ct_example_gen.quarantine import Quarantine, QuarantinedSlice
from components.report_gen.component import ReportGen
from components.report_gen.executor import Executor
from components.report_gen.report import Report
from components.report_gen.step_times import StepTime, write_step_times
from components.run_facts.facts import RunSettings
from components.serving_validator.outcome import ServingOutcome
from components.slice_evaluator import executor as slice_evaluator
from components.slice_evaluator.component import SliceEvaluator
from components.slice_evaluator.gate import Bounds, Minimum
from transform import ct_example, prediction
from transform.training_record import EpochRecord, TrainingRecord

BOUNDS = Bounds(Minimum(0.9), Minimum(0.6), max_regression=0.02)
# Two of three positives and three of three negatives are decided rightly at 0.5.
SLICES = [(1, 0.9), (1, 0.7), (1, 0.2), (0, 0.1), (0, 0.3), (0, 0.4)]


class MeanHu(tf.Module):
    """Says that the probability is what the feature `stats/mean_hu` says."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serving_default(self, examples):
        probability = tf.io.parse_example(
            examples, {ct_example.MEAN_HU: tf.io.FixedLenFeature([], tf.float32)}
        )[ct_example.MEAN_HU]
        return {
            prediction.PROBABILITY: probability,
            prediction.DECISION: tf.cast(probability >= 0.5, tf.int64),
            prediction.THRESHOLD: tf.fill(tf.shape(probability), 0.5),
        }


def slice_example(number, label, probability):
    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    values = {
        ct_example.IMAGE_ID: f"slice-{number}".encode(),
        ct_example.PATIENT_ID: f"patient-{number // 2}".encode(),
        ct_example.LABEL: label,
        ct_example.MEAN_HU: probability,
    }
    features = {name: feature(value) for name, value in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features))


def artifact(artifact_type, folder, artifact_id):
    made = artifact_type()
    made.uri, made.id = str(folder), artifact_id
    folder.mkdir(parents=True, exist_ok=True)
    return made


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The evaluation and blessing of a real SliceEvaluator over a tiny model, and what it read."""
    folder = tmp_path_factory.mktemp("evaluated")
    module = MeanHu()
    tf.saved_model.save(
        module,
        str(folder / "model" / "Format-Serving"),
        signatures={prediction.SERVING_DEFAULT: module.serving_default},
    )
    examples = artifact(standard_artifacts.Examples, folder / "examples", 2)
    examples.split_names = artifact_utils.encode_split_names([ct_example.TEST])
    (folder / "examples" / "Split-test").mkdir()
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(
        str(folder / "examples" / "Split-test" / "slices.gz"), options
    ) as writer:
        for number, (label, probability) in enumerate(SLICES):
            writer.write(slice_example(number, label, probability).SerializeToString())
    evaluation = artifact(standard_artifacts.ModelEvaluation, folder / "evaluation", 3)
    blessing = artifact(standard_artifacts.ModelBlessing, folder / "blessing", 4)
    context = slice_evaluator.Executor.Context(
        beam_pipeline_args=["--runner=FnApiRunner"], tmp_dir=str(folder / "tmp"), unique_id="1"
    )
    slice_evaluator.Executor(context).Do(
        {
            "examples": [examples],
            "model": [artifact(standard_artifacts.Model, folder / "model", 1)],
        },
        {"evaluation": [evaluation], "blessing": [blessing]},
        SliceEvaluator(
            examples=channel(standard_artifacts.Examples),
            model=channel(standard_artifacts.Model),
            example_splits=[ct_example.TEST],
            bounds=BOUNDS,
            resamples=20,
            seed=0,
            batch_size=16,
            code_version="1",
        ).exec_properties,
    )
    return evaluation, blessing, examples, artifact(standard_artifacts.Model, folder / "model", 1)


@pytest.fixture
def inputs(evaluated, tmp_path):
    evaluation, blessing, _, _ = evaluated
    quarantine = artifact(Quarantine, tmp_path / "quarantine", 5)
    rejected = QuarantinedSlice("x", "scans/x&y.png", "unreadable", "truncated")
    (tmp_path / "quarantine" / "quarantine.jsonl").write_text(rejected.to_json() + "\n")
    counts = [("accepted", "test", "0", 3), ("accepted", "test", "1", 3)]
    counts += [("quarantined", "unreadable", "", 1)]
    (tmp_path / "quarantine" / "counts.jsonl").write_text("\n".join(map(json.dumps, counts)))
    model_run = artifact(standard_artifacts.ModelRun, tmp_path / "model_run", 6)
    TrainingRecord(
        epochs=[EpochRecord("head", 1, {"loss": 0.6, "val_loss": 0.7})],
        training_slices=(4, 4),
        centre=0.25,
        temperature=1.5,
        calibration_error=(0.2, 0.1),
        threshold=0.5,
        validation={"sensitivity": 1.0, "specificity": 0.5, "auc": 0.9},
        versions={"tfx": "1.21.0"},
    ).write(model_run.uri)
    pushed_model = artifact(standard_artifacts.PushedModel, tmp_path / "pushed", 7)
    pushed_model.set_int_custom_property("pushed", 0)
    return {
        "quarantine": [quarantine],
        "model": [artifact(standard_artifacts.Model, tmp_path / "model", 8)],
        "model_run": [model_run],
        "evaluation": [evaluation],
        "blessing": [blessing],
        "pushed_model": [pushed_model],
    }


def channel(artifact_type):
    return tfx.dsl.Channel(type=artifact_type)


def properties(**more):
    component = ReportGen(
        quarantine=channel(Quarantine),
        model=channel(standard_artifacts.Model),
        model_run=channel(standard_artifacts.ModelRun),
        evaluation=channel(standard_artifacts.ModelEvaluation),
        blessing=channel(standard_artifacts.ModelBlessing),
        infra_blessing=channel(standard_artifacts.InfraBlessing),
        pushed_model=channel(standard_artifacts.PushedModel),
        settings=RunSettings("tiny", {"gate": {"target_sensitivity": 0.9}}, ["Split by image."]),
        code_version="1",
        **more,
    )
    return component.exec_properties


def write_report(inputs, folder, run_id=None, **more):
    context = Executor.Context(pipeline_run_id=run_id)
    Executor(context).Do(inputs, {"report": [artifact(Report, folder, 8)]}, properties(**more))
    return (folder / "index.html").read_text()


def test_the_report_of_a_failed_evaluation_names_the_figure_that_failed(inputs, tmp_path):
    page = write_report(inputs, tmp_path / "report")
    assert "Not pushed" in page
    assert "Sensitivity is 0.667; it must be at least 0.900." in page
    assert "6 slices of\n    3 patients" in page
    assert "2 true positives, 1 false negative, 0 false positives, 3 true negatives" in page
    assert "scans/x&amp;y.png" in page
    assert "Split by image." in page
    assert "no earlier blessed model" in page
    assert "1.21.0" in page
    assert "The report was not given the slices" in page
    assert "the platform that ran them shows" in page


def test_slices_that_a_model_cannot_explain_cost_the_report_a_line(inputs, evaluated, tmp_path):
    _, _, examples, model = evaluated
    page = write_report({**inputs, "examples": [examples], "model": [model]}, tmp_path / "report")
    assert "The model has no signature &#39;explain&#39;" in page
    # These slices have no pixels: one positive was missed, and four were decided rightly.
    assert "Not drawn, or without an overlay (slice-" in page
    assert page.count("<img") == 0
    assert 'Missed positives <span class="muted">(1 of 1)' in page
    assert 'Negatives cleared <span class="muted">(2 of 3)' in page


def test_the_times_are_those_of_the_run_that_the_report_is_of(inputs, tmp_path):
    folder = tmp_path / "times"
    write_step_times(folder, "this", [StepTime("Trainer", 61.24, cached=False)])
    write_step_times(folder, "another", [StepTime("Trainer", 7.77, cached=False)])
    page = write_report(inputs, tmp_path / "report", "this", step_times=str(folder))
    assert ">61.2</td>" in page
    assert ">7.8</td>" not in page
    later = write_report(inputs, tmp_path / "later", "lost", step_times=str(folder))
    assert "The runner left no times" in later


def test_the_report_says_why_a_trial_in_a_server_failed(inputs, tmp_path):
    tried = artifact(standard_artifacts.InfraBlessing, tmp_path / "tried", 9)
    ServingOutcome("a slice takes 812 ms, more than 500", 16, 1e-7, 812.0).write(tried.uri)
    page = write_report({**inputs, "infra_blessing": [tried]}, tmp_path / "report")
    assert "a slice takes 812 ms, more than 500." in page
    assert "812 ms</dd>" in page


def test_a_run_from_before_the_trial_was_reported_is_reported_without_it(inputs, tmp_path):
    assert "infra_blessing" not in inputs
    assert "Trial in a server" not in write_report(inputs, tmp_path / "report")


def test_the_report_of_a_push_names_version_and_destination(inputs, tmp_path):
    pushed_model = inputs["pushed_model"][0]
    pushed_model.set_int_custom_property("pushed", 1)
    pushed_model.set_string_custom_property("pushed_version", "17")
    pushed_model.set_string_custom_property("pushed_destination", "/srv/ctnet/17")
    page = write_report(inputs, tmp_path / "report")
    assert "Pushed as version 17" in page
    assert "/srv/ctnet/17" in page


def test_the_report_is_dated_by_the_evaluation_and_so_comes_out_the_same_again(inputs, tmp_path):
    moment = datetime.datetime(2025, 6, 14, 8, 31, 7, tzinfo=datetime.UTC)
    dated = inputs["evaluation"][0].mlmd_artifact
    dated.create_time_since_epoch = int(moment.timestamp() * 1000)
    page = write_report(inputs, tmp_path / "first")
    assert "2025-06-14T08:31:07+00:00" in page
    assert write_report(inputs, tmp_path / "second") == page
