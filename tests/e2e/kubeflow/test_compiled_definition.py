"""Every step of a compiled definition, run by its own command line as Kubeflow would."""

import json

import pytest
import tensorflow as tf

from components.slice_validator.drift import read_drift
from transform import prediction

pytestmark = [pytest.mark.e2e, pytest.mark.long]

UNREACHABLE = {"min_sensitivity": 1.0, "min_specificity": 1.0}
# The others come out the same; they are taken over from the first run.
JUDGED_AGAIN = ("LastAccepted", "SliceValidator", "SliceEvaluator", "AtomicPusher")


@pytest.fixture(scope="module")
def definition(cluster, ctnet, tiny_config, store):
    output = cluster.folder / "tiny.yaml"
    done = ctnet(
        *("compile", "kubeflow", "--config", tiny_config, "--root", store),
        *("--data", "compiled/without/it.csv", "--image", "registry.example/ctnet:1"),
        *("--output", output, "--set", f"kubeflow.home={cluster.home}"),
        *("--set", "probes.slices=0", "--set", "evaluate.resamples=50"),
    )
    assert done.code == 0, done.err
    return output


@pytest.fixture(scope="module")
def finished(cluster, definition, mixed_manifest):
    """The steps of one run; data and image are given to the run, not to the compiler."""
    given = {"data": str(mixed_manifest), "image": "registry.example/ctnet:2", "epochs": 1}
    steps = cluster.run(definition, given)
    failed = {name: step.log[-3000:] for name, step in steps.items() if step.code}
    assert not failed, failed
    return steps


def artifact(cluster, steps, step, key):
    return cluster.stored(steps[step].outputs[key]["uri"])


def test_the_steps_come_to_a_pushed_model_that_loads(cluster, finished):
    (version,) = (cluster.home / "serving/ctnet").iterdir()
    assert finished["AtomicPusher"].outputs["pushed_model"]["metadata"]["pushed"] == 1
    model = tf.saved_model.load(str(version))
    assert prediction.SERVING_DEFAULT in model.signatures
    assert (version / "assets.extra/model_card.md").exists()


def test_the_steps_come_to_a_report(cluster, finished):
    page = artifact(cluster, finished, "ReportGen", "report") / "index.html"
    assert "sensitivity" in page.read_text().lower()


def test_nothing_of_a_step_s_own_machine_is_in_what_it_tells(cluster, finished):
    told = json.dumps({name: step.outputs for name, step in finished.items()})
    assert str(cluster.folder / "pods") not in told


def test_a_runtime_parameter_reaches_training(cluster, finished):
    record = artifact(cluster, finished, "Trainer", "model_run") / "training.json"
    epochs = json.loads(record.read_text())["epochs"]
    # One of the head alone, which the configuration says, and one that the run was given.
    assert len(epochs) == 2


def test_without_an_earlier_run_there_is_nothing_to_compare_with(cluster, finished):
    given = finished["LastAccepted"].outputs
    assert all(one["metadata"]["absent"] == 1 for one in given.values())
    drift = read_drift(artifact(cluster, finished, "SliceValidator", "anomalies"))
    assert not drift.has_last_run


@pytest.fixture(scope="module")
def judged_again(cluster, definition, finished, mixed_manifest):
    given = {"data": str(mixed_manifest), "image": "registry.example/ctnet:1", **UNREACHABLE}
    steps = cluster.run(definition, given, finished=finished, only=JUDGED_AGAIN)
    failed = {name: step.log[-3000:] for name, step in steps.items() if step.code}
    assert not failed, failed
    return steps


def test_a_bound_given_to_the_run_keeps_a_model_from_being_pushed(cluster, judged_again):
    blessing = judged_again["SliceEvaluator"].outputs["blessing"]
    assert blessing["metadata"]["blessed"] == 0
    assert judged_again["AtomicPusher"].outputs["pushed_model"]["metadata"]["pushed"] == 0
    assert len(list((cluster.home / "serving/ctnet").iterdir())) == 1


def test_the_second_run_is_compared_with_what_the_first_had_accepted(cluster, judged_again):
    folder = artifact(cluster, judged_again, "SliceEvaluator", "evaluation")
    assert list(folder.glob("baseline_predictions-*.jsonl"))
    drift = read_drift(artifact(cluster, judged_again, "SliceValidator", "anomalies"))
    assert drift.has_last_run
