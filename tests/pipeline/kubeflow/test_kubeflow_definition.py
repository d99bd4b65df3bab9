"""What the compiled definition says; tests/e2e/kubeflow runs it."""

import builtins
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config import load_config
from pipeline.kubeflow.compiler import compile_for_kubeflow
from transform.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests/pipeline/golden/kubeflow_demo.yaml"
STORE = "minio://mlpipeline/v2/artifacts"
IMAGE = "registry.example/ctnet:1"
VOLUME = "kubeflow.volume_claim=ctnet"
KEY = "ingest.patient_key=/secrets/patient.key"

# What changes with the code and not with the definition.
CODE_VERSIONS = (
    re.compile(r'(code_version\\": \\")[0-9a-f]{16}'),
    re.compile(r'("code_version": \{"runtimeValue": \{"constant": ")[0-9a-f]{16}'),
)


def compiled(output, *assignments, config="covid_ct", root="gs://bucket/ctnet", **arguments):
    compile_for_kubeflow(
        load_config(ROOT / "configs" / f"{config}.yaml", [KEY, *assignments]),
        data="/mnt/data/manifest.csv",
        root=root,
        image=IMAGE,
        output=output,
        **arguments,
    )
    return output.read_text()


def definition_of(output, *assignments, **arguments):
    return next(yaml.safe_load_all(compiled(output, *assignments, **arguments)))


def containers_of(definition):
    executors = definition["deploymentSpec"]["executors"]
    return {name.removesuffix("_executor"): one["container"] for name, one in executors.items()}


def parameters_of(definition):
    return definition["root"]["inputDefinitions"]["parameters"]


@pytest.fixture(scope="module")
def definition(tmp_path_factory):
    return definition_of(tmp_path_factory.mktemp("compiled") / "pipeline.yaml")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The text for open-source KFP with all that the configuration can ask for."""
    return compiled(
        tmp_path_factory.mktemp("compiled") / "demo.yaml",
        VOLUME,
        "kubeflow.trainer={accelerator: nvidia.com/gpu, accelerators: 2, cpu: 8, memory_gb: 32}",
        "kubeflow.beam={cpu: 4, memory_gb: 16}",
        "kubeflow.retries=3",
        config="demo",
        root=STORE,
        gpu_image=f"{IMAGE}-gpu",
    )


def test_the_definition_has_every_step(definition):
    assert set(definition["root"]["dag"]["tasks"]) == {
        "LastAccepted",
        "CTExampleGen",
        "StatisticsGen",
        "ImportSchemaGen",
        "SliceValidator",
        "Transform",
        "Trainer",
        "ShortcutProbes",
        "SliceEvaluator",
        "ModelCardGen",
        "ServingValidator",
        "AtomicPusher",
        "ReportGen",
    }


def test_every_step_is_a_container_because_open_source_kfp_runs_no_resolver(definition):
    for name, container in containers_of(definition).items():
        assert container["command"] == ["python", "-m", "pipeline.kubeflow.step"]
        assert f"--step={name}" in container["args"]


def test_the_definition_is_what_it_was(demo):
    text = json.dumps(list(yaml.safe_load_all(demo)))
    for pattern in CODE_VERSIONS:
        text, replaced = pattern.subn(r"\1CODE_VERSION", text)
        assert replaced
    found = yaml.safe_dump_all(json.loads(text), sort_keys=True, width=100)
    if os.environ.get("RENEW_GOLDEN"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text(), (
        f"the definition changed; if that is meant, look at the difference after "
        f"`RENEW_GOLDEN=1 pytest {Path(__file__).relative_to(ROOT)}` and commit {GOLDEN.name}"
    )


def test_a_run_may_be_given_data_span_epochs_bounds_and_images(demo):
    parameters = parameters_of(next(yaml.safe_load_all(demo)))
    assert {name: one["defaultValue"] for name, one in parameters.items()} == {
        "data": "/mnt/data/manifest.csv",
        "span": "newest",
        "epochs": 3.0,
        "min_sensitivity": 0.8,
        "min_specificity": 0.8,
        "image": IMAGE,
        "trainer_image": f"{IMAGE}-gpu",
    }
    assert {name: one["parameterType"] for name, one in parameters.items()} == {
        "data": "STRING",
        "span": "STRING",
        "epochs": "NUMBER_INTEGER",
        "min_sensitivity": "NUMBER_DOUBLE",
        "min_specificity": "NUMBER_DOUBLE",
        "image": "STRING",
        "trainer_image": "STRING",
    }


def test_a_bound_on_the_lower_end_is_the_default_too(tmp_path):
    bound = "gate.min_sensitivity={lower_bound: 0.75, of: patients}"
    definition = definition_of(tmp_path / "pipeline.yaml", bound)
    assert parameters_of(definition)["min_sensitivity"]["defaultValue"] == 0.75
    given = definition["root"]["dag"]["tasks"]["SliceEvaluator"]["inputs"]["parameters"]
    bounds = json.loads(given["bounds"]["runtimeValue"]["constant"])
    assert bounds["min_sensitivity"]["of_lower_end"]
    assert bounds["min_sensitivity"]["unit"] == "patients"


def test_the_image_is_taken_when_a_step_starts(demo):
    definition = next(yaml.safe_load_all(demo))
    for name, container in containers_of(definition).items():
        of_run = "trainer_image" if name == "Trainer" else "image"
        channel = f"pipelinechannel--{of_run}"
        assert container["image"] == f"{{{{$.inputs.parameters['{channel}']}}}}"
        assert f"--sdk_container_image={container['image']}" in container["args"]
        handed = definition["root"]["dag"]["tasks"][name]["inputs"]["parameters"][channel]
        assert handed == {"componentInputParameter": of_run}


def test_steps_ask_for_what_they_need(demo):
    containers = containers_of(next(yaml.safe_load_all(demo)))
    trainer = containers["Trainer"]["resources"]
    assert trainer["accelerator"] == {"type": "nvidia.com/gpu", "count": "2"}
    assert (trainer["cpuLimit"], trainer["memoryLimit"]) == (8.0, 32.0)
    for name in ("CTExampleGen", "StatisticsGen", "Transform", "SliceEvaluator"):
        assert containers[name]["resources"]["memoryLimit"] == 16.0
    assert "resources" not in containers["ReportGen"]


def test_every_step_is_tried_again_and_sees_the_volume(demo):
    definition, platform = yaml.safe_load_all(demo)
    for task in definition["root"]["dag"]["tasks"].values():
        assert task["retryPolicy"]["maxRetryCount"] == 3
        assert not task.get("cachingOptions")
    mounted = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(mounted) == set(definition["deploymentSpec"]["executors"])
    assert mounted["Trainer_executor"] == {
        "pvcMount": [{"constant": "ctnet", "mountPath": "/mnt/ctnet"}]
    }


def test_what_outlives_runs_goes_to_the_volume_and_artifacts_to_the_root(demo):
    definition = next(yaml.safe_load_all(demo))
    assert definition["defaultPipelineRoot"] == STORE
    given = definition["root"]["dag"]["tasks"]["AtomicPusher"]["inputs"]["parameters"]
    assert "/mnt/ctnet/serving/ctnet" in given["push_destination"]["runtimeValue"]["constant"]


def test_the_definition_is_one_that_kfp_reads(demo):
    definition = next(yaml.safe_load_all(demo))
    spec = json_format.ParseDict(definition, pipeline_spec_pb2.PipelineSpec())
    assert spec.schema_version == "2.1.0"
    for name, task in spec.root.dag.tasks.items():
        declared = spec.components[task.component_ref.name].input_definitions
        assert set(task.inputs.parameters) == set(declared.parameters), name
        assert set(task.inputs.artifacts) == set(declared.artifacts), name


def test_the_report_is_told_what_came_of_the_trial_in_a_server(definition):
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
    definition = definition_of(tmp_path / "pipeline.yaml", "model.weights=last_blessed")
    tasks = definition["root"]["dag"]["tasks"]
    wired = tasks["Trainer"]["inputs"]["artifacts"]["base_model"]["taskOutputArtifact"]
    assert wired == {"producerTask": "LastAccepted", "outputArtifactKey": "model"}
    # Where nothing is blessed yet, the step looks for these.
    given = tasks["Trainer"]["inputs"]["parameters"]["custom_config"]
    assert json.loads(given["runtimeValue"]["constant"])["weights"] == "imagenet"


def test_vertex_ai_gets_json_with_its_root_and_fixed_images(tmp_path):
    job = json.loads(compiled(tmp_path / "pipeline.json"))
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/ctnet"
    assert "image" not in parameters_of(job["pipelineSpec"])
    for container in containers_of(job["pipelineSpec"]).values():
        assert container["image"] == IMAGE


@pytest.mark.parametrize(
    ("name", "assignments", "root", "said"),
    [
        ("p.txt", [], "gs://bucket/ctnet", "must end in"),
        ("p.json", [VOLUME], STORE, "Vertex AI keeps artifacts at gs://"),
        ("p.yaml", [], STORE, "name a volume in kubeflow.volume_claim"),
        ("p.yaml", [], "artifacts", "give an address"),
        ("p.yaml", ["kubeflow.home=relative"], STORE, "give an absolute path"),
        ("p.yaml", ["ingest.patient_key=null"], "gs://bucket", "ingest.patient_key"),
    ],
)
def test_what_steps_could_not_use_is_refused_in_one_line(tmp_path, name, assignments, root, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        compiled(tmp_path / name, *assignments, root=root)
    assert "\n" not in str(caught.value)


def test_without_kubeflow_s_package_one_line_says_what_to_install(tmp_path, monkeypatch):
    imported = builtins.__import__

    def without_kfp(name, *arguments, **named):
        if name == "pipeline.kubeflow.compiler":
            raise ModuleNotFoundError("No module named 'kfp'", name="kfp")
        return imported(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_kfp)
    done = CliRunner().invoke(
        app,
        [
            *("compile", "kubeflow", "--config", str(ROOT / "configs/demo.yaml")),
            *("--data", "m.csv", "--root", STORE, "--image", IMAGE),
            *("--output", str(tmp_path / "p.yaml")),
        ],
    )
    assert isinstance(done.exception, ConfigError)
    assert "pip install 'ctnet[kubeflow]'" in str(done.exception)
