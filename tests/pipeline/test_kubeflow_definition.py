import json
from pathlib import Path

import pytest
import yaml

from pipeline.config import load_config
from pipeline.kubeflow import compile_for_kubeflow
from transform.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def compiled(output, *assignments):
    compile_for_kubeflow(
        load_config(ROOT / "configs" / "covid_ct.yaml", list(assignments)),
        manifest="/mnt/data/manifest.csv",
        root="gs://bucket/ctnet",
        image="registry.example/ctnet:1",
        output=output,
    )
    return output.read_text()


def test_the_definition_has_every_step_and_the_image(tmp_path):
    definition = yaml.safe_load(compiled(tmp_path / "pipeline.yaml"))
    steps = set(definition["root"]["dag"]["tasks"])
    assert {
        "CTExampleGen",
        "StatisticsGen",
        "SliceValidator",
        "Transform",
        "Trainer",
        "SliceEvaluator",
        "ServingValidator",
        "AtomicPusher",
        "ReportGen",
    } <= steps
    containers = [
        executor["container"]
        for executor in definition["deploymentSpec"]["executors"].values()
        if "container" in executor
    ]
    assert {container["image"] for container in containers} == {"registry.example/ctnet:1"}


def test_the_report_is_told_what_came_of_the_trial_in_a_server(tmp_path):
    definition = yaml.safe_load(compiled(tmp_path / "pipeline.yaml"))
    wired = definition["root"]["dag"]["tasks"]["ReportGen"]["inputs"]["artifacts"]["infra_blessing"]
    assert wired["taskOutputArtifact"] == {
        "producerTask": "ServingValidator",
        "outputArtifactKey": "blessing",
    }


def test_nothing_of_this_machine_is_in_the_definition(tmp_path):
    text = compiled(tmp_path / "pipeline.yaml")
    assert str(ROOT) not in text
    assert str(tmp_path) not in text


def test_training_can_begin_with_the_last_blessed_model(tmp_path):
    definition = yaml.safe_load(compiled(tmp_path / "pipeline.yaml", "model.weights=last_blessed"))
    tasks = definition["root"]["dag"]["tasks"]
    wired = tasks["Trainer"]["inputs"]["artifacts"]["base_model"]["taskOutputArtifact"]
    assert wired == {"producerTask": "Parent-model-resolver", "outputArtifactKey": "model"}
    assert "Parent-model-blessing-resolver" in tasks
    # Where nothing is blessed yet, the step looks for these.
    given = tasks["Trainer"]["inputs"]["parameters"]["custom_config"]
    text = given["runtimeValue"]["constantValue"]["stringValue"]
    assert json.loads(text)["weights"] == "imagenet"


def test_the_gate_reaches_the_step_that_judges(tmp_path):
    bound = "gate.min_sensitivity={lower_bound: 0.75, of: patients}"
    definition = yaml.safe_load(compiled(tmp_path / "pipeline.yaml", bound))
    given = definition["root"]["dag"]["tasks"]["SliceEvaluator"]["inputs"]["parameters"]
    values = {name: one["runtimeValue"]["constantValue"] for name, one in given.items()}
    bounds = json.loads(values["bounds"]["stringValue"])
    assert bounds["min_sensitivity"]["at_least"] == 0.75
    assert bounds["min_sensitivity"]["unit"] == "patients"
    assert not bounds["accept_leak_alarm"]
    assert int(values["resamples"]["intValue"]) == 1000


def test_vertex_ai_gets_json(tmp_path):
    assert json.loads(compiled(tmp_path / "pipeline.json"))["pipelineSpec"]


def test_an_output_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must end in"):
        compiled(tmp_path / "pipeline.txt")
