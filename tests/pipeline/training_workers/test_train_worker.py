"""`ctnet train-worker`: what is said before any library is waited for, and which files it finds."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.config import load_config
from pipeline.training_workers import train_worker as worker_module
from pipeline.training_workers.train_worker import (
    Transformed,
    WorkerRequest,
    find_transformed,
    set_cluster,
    train_as_worker,
)
from trainer.weights import RANDOM_WEIGHTS, resolve_weights
from transform.errors import ConfigError

STATES = mlmd.Execution.State


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    # Set first, so that whatever a test sets is taken back.
    monkeypatch.setenv("TF_CONFIG", "")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text("name: tiny\nmodel: {backbone: tiny, weights: none}\n")
    return path


@pytest.fixture
def transformed(tmp_path):
    """Folders as Transform leaves them, with something in each."""
    options = []
    for option, folders in (
        ("--examples", ("Split-train", "Split-eval")),
        ("--transform-graph", ("transform_fn",)),
    ):
        root = tmp_path / option.strip("-")
        for folder in folders:
            (root / folder).mkdir(parents=True)
            (root / folder / "file").write_text("")
        options += [option, root]
    return options


@pytest.fixture
def train_worker(ctnet_main, config):
    """`train_worker(option, ...)`: the exit code and the one line that it ends with."""

    def ask(*options):
        code, out, err = ctnet_main("train-worker", "--config", config, *options)
        assert out == ""
        (line,) = err.splitlines()
        return code, line

    return ask


def test_options_make_the_cluster_that_tensorflow_reads():
    set_cluster("a.example:2222, b.example:2223", 1)
    assert json.loads(os.environ["TF_CONFIG"]) == {
        "cluster": {"worker": ["a.example:2222", "b.example:2223"]},
        "task": {"type": "worker", "index": 1},
    }


def test_without_options_the_platforms_cluster_stays(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "the platform's")
    set_cluster(None, None)
    assert os.environ["TF_CONFIG"] == "the platform's"
    with pytest.raises(ConfigError, match="TF_CONFIG is set too"):
        set_cluster("a:1,b:2", 0)


@pytest.mark.parametrize(
    ("addresses", "worker", "says"),
    [
        ("a:1,b:2", None, "belong together"),
        (None, 0, "belong together"),
        ("a:1,b", 0, "'b' is no HOST:PORT"),
        ("a:1,b:0", 0, "'b:0' is no HOST:PORT"),
        ("a:1,a:1", 0, "names one twice"),
        ("a:1,b:2", 2, "has 0 to 1"),
        ("a:1,b:2", -1, "has 0 to 1"),
    ],
)
def test_a_cluster_that_cannot_be_meant_is_refused(addresses, worker, says):
    with pytest.raises(ConfigError, match=says):
        set_cluster(addresses, worker)
    assert os.environ["TF_CONFIG"] == ""


def add_transform(workdir: Path, when: str, state, seen_at="/elsewhere"):
    """A run that came to Transform's end, or not, as TFX notes it."""
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(workdir / "metadata.sqlite")
    store = MetadataStore(connection)

    def context(kind, name):
        type_id = store.put_context_type(mlmd.ContextType(name=kind))
        return mlmd.Context(type_id=type_id, name=name)

    type_id = store.put_execution_type(mlmd.ExecutionType(name="tfx.Transform"))
    execution = mlmd.Execution(type_id=type_id, last_known_state=state)
    pairs = []
    for key, kind in (("transformed_examples", "Examples"), ("transform_graph", "TransformGraph")):
        if state not in (STATES.COMPLETE, STATES.CACHED):
            continue
        artifact_type = store.put_artifact_type(mlmd.ArtifactType(name=kind))
        uri = f"{seen_at}/pipeline/Transform/{key}/{when}"
        event = mlmd.Event(type=mlmd.Event.OUTPUT)
        event.path.steps.add().key = key
        event.path.steps.add().index = 0
        pairs.append((mlmd.Artifact(type_id=artifact_type, uri=uri), event))
    # "reuse" because the step's context is there from the second run on.
    store.put_execution(
        execution,
        pairs,
        [
            context("pipeline", "tiny"),
            context("pipeline_run", f"2026-01-01T00:00:0{when}"),
            context("node", "tiny.Transform"),
        ],
        reuse_context_if_already_exist=True,
    )


def test_the_newest_transform_that_ended_is_taken_where_the_folder_is_mounted_now(tmp_path):
    add_transform(tmp_path, "1", STATES.COMPLETE)
    add_transform(tmp_path, "2", STATES.COMPLETE)
    add_transform(tmp_path, "3", STATES.FAILED)
    found = find_transformed(tmp_path)
    step = tmp_path.resolve() / "pipeline" / "Transform"
    assert found.examples == step / "transformed_examples" / "2"
    assert found.graph == step / "transform_graph" / "2"


def test_a_folder_where_no_transform_ended_is_refused(tmp_path):
    add_transform(tmp_path, "1", STATES.FAILED)
    with pytest.raises(ConfigError, match="no run got through Transform"):
        find_transformed(tmp_path)


def test_a_folder_without_a_run_is_refused(train_worker, tmp_path):
    code, line = train_worker("--workdir", tmp_path)
    assert code == 2
    assert "no run has begun here" in line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "give --workdir, or --examples and --transform-graph"),
        (["--examples", "here"], "belong together"),
        (["--examples", "here", "--transform-graph", "there"], "--examples needs --out"),
        (
            ["--workdir", "w", "--examples", "here", "--transform-graph", "there"],
            "give --workdir, or",
        ),
    ],
)
def test_what_to_train_on_is_said_in_one_way(train_worker, options, says):
    code, line = train_worker(*options)
    assert code == 2
    assert says in line


def test_a_strategy_of_one_machine_is_refused(train_worker, transformed, tmp_path):
    code, line = train_worker(
        *transformed, "--out", tmp_path / "out", "--set", "train.strategy=mirrored"
    )
    assert code == 2
    assert "trains as multi_worker; set that or auto" in line


def test_a_model_that_is_there_is_not_written_over(train_worker, transformed, tmp_path):
    model = tmp_path / "out" / "model" / "Format-Serving"
    model.mkdir(parents=True)
    (model / "saved_model.pb").write_text("kept")
    (tmp_path / "out" / "model_run").mkdir()
    (tmp_path / "out" / "model_run" / "training.json").write_text("{}")
    code, line = train_worker(*transformed, "--out", tmp_path / "out")
    assert code == 2
    assert "there is a model already" in line
    assert (model / "saved_model.pb").read_text() == "kept"


def test_half_an_export_is_no_model(train_worker, transformed, tmp_path):
    model = tmp_path / "out" / "model" / "Format-Serving"
    model.mkdir(parents=True)
    (model / "saved_model.pb").write_text("half")
    code, line = train_worker(*transformed, "--out", tmp_path / "out")
    assert code == 2
    assert "needs the environment variable TF_CONFIG" in line


def test_a_model_to_begin_with_has_to_be_named_and_wanted(train_worker, transformed, tmp_path):
    given = (*transformed, "--out", tmp_path / "out")
    code, line = train_worker(*given, "--set", "model.weights=last_blessed")
    assert (code, "say which model with --parent" in line) == (2, True)
    code, line = train_worker(*given, "--parent", tmp_path)
    assert (code, "set it to last_blessed" in line) == (2, True)


def test_an_empty_folder_is_not_trained_on(train_worker, tmp_path):
    code, line = train_worker(
        *("--examples", tmp_path, "--transform-graph", tmp_path / "none", "--out", tmp_path)
    )
    assert code == 2
    assert f"--transform-graph: nothing is in {tmp_path / 'none'}" in line


WEIGHTS = b"\x89HDF\r\n\x1a\n"


@pytest.fixture
def request_with_weights(tmp_path, transformed):
    """A training that begins with the weights in `w.h5`."""
    path, file = tmp_path / "b3.yaml", tmp_path / "w.h5"
    path.write_text(f"name: b3\nmodel: {{weights: {file}}}\n")
    file.write_bytes(WEIGHTS + b"first")
    _, examples, _, graph = transformed
    return WorkerRequest(
        load_config(path, None), Transformed(examples, graph), (tmp_path / "out").resolve()
    )


def test_a_training_that_is_over_is_another_with_other_weights_under_the_same_path(
    request_with_weights, ctnet_main, transformed, tmp_path
):
    request = request_with_weights
    for file in (request.model / "saved_model.pb", request.model_run / "training.json"):
        file.parent.mkdir(parents=True)
        file.write_text("{}")
    identity = request.identity(resolve_weights(request.config.model.weights))
    (request.out / "request.sha256").write_text(identity)

    def ask():
        return ctnet_main(
            *("train-worker", "--json", "--config", tmp_path / "b3.yaml", *transformed),
            *("--out", request.out, "--workers", "a.example:2222", "--worker", "0"),
        )

    code, out, err = ask()
    assert code == 0, err
    assert json.loads(out)["before"]
    os.environ["TF_CONFIG"] = ""
    (tmp_path / "w.h5").write_bytes(WEIGHTS + b"other")
    code, out, err = ask()
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "there is a model already, of another configuration or of other examples, wei" in line


def test_other_code_or_another_parent_under_the_same_path_is_another_training(
    request_with_weights, monkeypatch, tmp_path
):
    request = request_with_weights
    version = worker_module.step_version("Trainer")
    assert request.identity(RANDOM_WEIGHTS) == request.identity(RANDOM_WEIGHTS)
    parent = tmp_path / "earlier" / "Format-Serving"
    network = tmp_path / "earlier" / "network" / "network.keras"
    network.parent.mkdir(parents=True)
    network.write_text("first")
    begun = WorkerRequest(request.config, request.transformed, request.out, parent)
    identities = {request.identity(RANDOM_WEIGHTS), begun.identity(RANDOM_WEIGHTS)}
    network.write_text("other")
    identities.add(begun.identity(RANDOM_WEIGHTS))
    monkeypatch.setattr(worker_module, "step_version", lambda step: f"{version} of {step}, later")
    identities.add(request.identity(RANDOM_WEIGHTS))
    assert len(identities) == 4


def test_workers_compare_the_weights_and_the_code_and_keep_checkpoints_by_them(
    request_with_weights, monkeypatch, tmp_path
):
    """The Trainer's function compares and hashes all that it is told."""
    told = []
    monkeypatch.setattr("trainer.run.run_fn", lambda fn_args: told.append(fn_args.custom_config))
    size = request_with_weights.config.transform.image_size
    spec = {"image": SimpleNamespace(shape=[size, size, 1])}
    monkeypatch.setattr(
        "tensorflow_transform.TFTransformOutput",
        lambda _: SimpleNamespace(transformed_feature_spec=lambda: spec),
    )
    set_cluster("a.example:2222", 0)
    for content in (b"first", b"first", b"other"):
        (tmp_path / "w.h5").write_bytes(WEIGHTS + content)
        train_as_worker(request_with_weights, lambda _: None, lambda *_: None)
    before, again, other = told
    assert before == again
    assert before["code_version"] == worker_module.step_version("Trainer")
    assert {name for name in before if before[name] != other[name]} == {"weights_fingerprint"}
