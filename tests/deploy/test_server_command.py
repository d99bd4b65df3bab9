"""How the server is started, by Docker Compose and on Kubernetes alike."""

from importlib import metadata
from pathlib import PurePosixPath

import pytest

CONFIGURATION_FLAGS = ("model_config_file", "batching_parameters_file", "monitoring_config_file")


def test_tensorflow_serving_knows_every_flag(command, known_flags):
    assert command.program == "/usr/bin/tensorflow_model_server"
    assert set(command.flags) <= known_flags


def test_the_ports_are_the_usual_ones(command):
    assert command.flags["port"] == "8500"
    assert command.flags["rest_api_port"] == "8501"


def test_every_configuration_file_is_there_and_mounted(command, deploy):
    for flag in CONFIGURATION_FLAGS:
        path = PurePosixPath(command.flags[flag])
        assert str(path.parent) == "/config"
        assert (deploy / "serving" / path.name).is_file()


def test_batching_parameters_are_not_given_without_batching(command):
    assert command.flags["enable_batching"] == "true"


def test_a_server_with_labels_in_its_file_starts(command):
    assert command.flags["allow_version_labels_for_unavailable_models"] == "true"


@pytest.mark.parametrize("flag", ["model_name", "model_base_path"])
def test_no_flag_is_given_that_the_model_config_file_makes_void(command, flag):
    assert flag not in command.flags


def test_the_server_is_of_the_release_of_tensorflow_that_exports(compose_service, container):
    image, tag = compose_service["image"].split(":")
    assert container["image"] == f"{image}:{tag}"
    assert image == "tensorflow/serving"
    release = [int(part) for part in tag.split(".")]
    assert len(release) == 3, "not a release but a tag that moves"
    exports = [int(part) for part in metadata.version("tensorflow").split(".")[:2]]
    assert release[:2] == exports
