import uuid

import pytest
from tfx.dsl.io import fileio

from components.atomic_pusher.executor import publish, publish_unless_newest
from components.object_storage.folders import fetch_folder, is_remote, publish_folder
from components.object_storage.local_artifacts import LocalArtifacts


@pytest.fixture
def bucket():
    """An address of TensorFlow's file system in memory, which renames no folders either."""
    return f"ram://{uuid.uuid4().hex}"


def write(address, text="content"):
    fileio.makedirs(address.rsplit("/", 1)[0])
    with fileio.open(address, "w") as file:
        file.write(text)


def read(address):
    with fileio.open(address, "r") as file:
        return file.read()


def test_a_path_is_no_address():
    assert not is_remote("/mnt/ctnet/pipeline")
    assert not is_remote("pipeline/Trainer")
    assert is_remote("gs://bucket/pipeline")
    assert is_remote("minio://mlpipeline/v2/artifacts")


def test_a_local_artifact_is_used_where_it_is(tmp_path):
    artifacts = LocalArtifacts(tmp_path / "temporary", launcher=None)
    assert artifacts.fetch("/mnt/examples") == "/mnt/examples"
    assert artifacts.place("/mnt/model") == "/mnt/model"
    artifacts.publish()
    assert not (tmp_path / "temporary").exists()


def test_an_input_is_fetched_with_all_its_folders(tmp_path, bucket):
    write(f"{bucket}/model/saved_model.pb")
    write(f"{bucket}/model/variables/variables.index", "numbers")
    local = LocalArtifacts(tmp_path, launcher=None).fetch(f"{bucket}/model")
    assert read(f"{local}/variables/variables.index") == "numbers"


def test_an_input_fetched_again_looks_the_same(tmp_path, bucket):
    write(f"{bucket}/examples/data.gz")
    fetch_folder(f"{bucket}/examples", tmp_path / "examples")
    first = (tmp_path / "examples/data.gz").stat().st_mtime_ns
    fetch_folder(f"{bucket}/examples", tmp_path / "examples")
    assert (tmp_path / "examples/data.gz").stat().st_mtime_ns == first


def test_an_output_is_not_there_before_the_work_is_whole(tmp_path, bucket):
    artifacts = LocalArtifacts(tmp_path, launcher=None)
    local = artifacts.place(f"{bucket}/model")
    write(f"{local}/variables/variables.index", "numbers")
    assert not fileio.exists(f"{bucket}/model")
    artifacts.publish()
    assert read(f"{bucket}/model/variables/variables.index") == "numbers"
    assert artifacts.address_of(local) == f"{bucket}/model"


def test_what_a_killed_attempt_left_is_gone(tmp_path, bucket):
    write(f"{bucket}/model/half.pb")
    write(f"{tmp_path}/model/saved_model.pb")
    publish_folder(f"{tmp_path}/model", f"{bucket}/model")
    assert fileio.listdir(f"{bucket}/model") == ["saved_model.pb"]


def test_the_launcher_s_own_copies_are_used_and_stored_by_the_launcher(tmp_path):
    fetched = tmp_path / "minio/mlpipeline/run/examples"
    write(f"{fetched}/data.gz")
    artifacts = LocalArtifacts(tmp_path / "temporary", launcher=tmp_path)
    assert artifacts.fetch("minio://mlpipeline/run/examples") == str(fetched)
    placed = artifacts.place("minio://mlpipeline/run/model")
    assert placed == str(tmp_path / "minio/mlpipeline/run/model")
    write(f"{placed}/saved_model.pb")
    artifacts.publish()
    assert read(f"{placed}/saved_model.pb") == "content"


def test_a_version_in_object_storage_is_loadable_last(tmp_path, bucket, monkeypatch):
    for name in ("saved_model.pb", "variables/variables.index", "assets.extra/model_card.md"):
        write(f"{tmp_path}/model/{name}")
    order = []
    copy = fileio.copy

    def noting(source, target, overwrite=False):
        order.append(target.rsplit("/", 1)[1])
        copy(source, target, overwrite=overwrite)

    monkeypatch.setattr(fileio, "copy", noting)
    publish(f"{tmp_path}/model", f"{bucket}/serving", "7")
    assert order[-1] == "saved_model.pb"
    assert len(order) == 3


def test_a_version_that_a_killed_push_left_is_not_taken_for_whole(tmp_path, bucket):
    for name in ("saved_model.pb", "fingerprint.pb"):
        write(f"{tmp_path}/model/{name}")
    write(f"{bucket}/serving/7/fingerprint.pb")
    version = publish_unless_newest(f"{tmp_path}/model", f"{bucket}/serving")
    assert [name.strip("/") for name in fileio.listdir(f"{bucket}/serving")] == [version]
    assert publish_unless_newest(f"{tmp_path}/model", f"{bucket}/serving") == version
