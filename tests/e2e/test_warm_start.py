"""Runs that begin with the model that was blessed before them, through the command line."""

import shutil

import numpy as np
import pytest
import tf_keras

from pipeline.run_folder.outputs import open_store
from pipeline.run_folder.workdir import Workdir
from transform.phantom import write_cohort

pytestmark = pytest.mark.e2e

# One epoch at a rate too small to change anything: a model is what it began with.
STILL = (
    *("--set", "train.learning_rate=1e-12"),
    *("--set", "train.head_learning_rate=1e-12"),
    *("--set", "train.epochs=1"),
    *("--set", "model.batch_norm=frozen"),
)


@pytest.fixture(scope="module")
def warm_run(run_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("warm")
    manifest = write_cohort(
        folder / "cohort", patients=40, slices=1, seed=5, severity="severe", size=48
    )

    def run(*arguments):
        done = run_pipeline(
            manifest, folder / "run", "--set", "model.weights=last_blessed", *arguments
        )
        assert done.done.code == 0, done.done.err
        return done

    return run


def weights_of(model):
    return tf_keras.models.load_model(model / "network" / "network.keras").get_weights()


def test_a_run_begins_with_the_last_blessed_model_and_its_repetition_is_cached(warm_run):
    first = warm_run().summary
    assert first["started_from"] == "none"
    assert first["verdict"] == "pushed"

    second_run = warm_run(*STILL)
    second = second_run.summary
    models = sorted(
        (second_run.workdir / "pipeline/Trainer/model").iterdir(), key=lambda one: int(one.name)
    )
    assert second["started_from"] == str(models[0])
    assert len(models) == 2
    for one, other in zip(*map(weights_of, models), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)

    # With its version gone, the model is pushed again, and gets another number.
    serving = second_run.workdir / "serving/ctnet"
    shutil.rmtree(serving / second["version"])
    again = warm_run(*STILL).summary
    assert all(step["cached"] for step in again["steps"])
    assert again["started_from"] == second["started_from"]
    assert again["version"] != second["version"]
    assert (serving / again["version"] / "saved_model.pb").exists()
    page = (second_run.workdir / "report/index.html").read_text()
    assert f"Pushed as version {again['version']}" in page
    assert second["version"] not in page

    artifacts = {
        one.uri: one.custom_properties
        for one in open_store(Workdir(second_run.workdir)).get_artifacts_by_type("Model")
    }
    origin = artifacts[str(models[1])]
    assert origin["parent_uri"].string_value == str(models[0])
    assert origin["data_fingerprint"].string_value == second["fingerprint"]
    assert origin["seed"].int_value == 0
    assert origin["tensorflow"].string_value
