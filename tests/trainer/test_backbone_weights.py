"""Where `model.weights` points, and the one line a user reads when it cannot be used."""

import hashlib

import pytest
import tf_keras

from trainer.model import ModelSettings, build_network
from trainer.weights import (
    BackboneWeights,
    resolve_weights,
    unresolved_weights,
    weights_without_blessed_model,
)
from transform.errors import ConfigError

SETTINGS = ModelSettings(
    backbone="efficientnet-b3",
    head="gap",
    dropout=0.0,
    batch_norm="trainable",
    batch_norm_momentum=None,
    image_size=32,
    centre=0.25,
)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("model.weights: ")
    return text


def test_none_means_random_weights():
    assert resolve_weights("none") == BackboneWeights(None, "none")


@pytest.mark.parametrize(
    ("weights", "backbone", "meant"),
    [
        ("last_blessed", "efficientnet-b3", "imagenet"),
        ("last_blessed", "tiny", "none"),
        ("none", "efficientnet-b3", "none"),
        ("some/file.h5", "efficientnet-b3", "some/file.h5"),
    ],
)
def test_without_a_blessed_model_training_begins_as_the_configuration_says(
    weights, backbone, meant
):
    assert weights_without_blessed_model(weights, backbone) == meant


def test_weights_that_the_trainer_finds_itself_keep_their_name():
    assert unresolved_weights("imagenet") == BackboneWeights("imagenet", "imagenet")
    assert unresolved_weights("none") == resolve_weights("none")


def test_a_missing_file_is_one_line_that_says_what_can_be_given(tmp_path):
    path = tmp_path / "missing.h5"
    with pytest.raises(ConfigError) as error:
        resolve_weights(str(path))
    line = one_line(error)
    assert f"{path}: No such file or directory" in line
    assert "imagenet, none, last_blessed, or the path" in line


def test_a_folder_is_one_line(tmp_path):
    with pytest.raises(ConfigError) as error:
        resolve_weights(str(tmp_path))
    assert f"{tmp_path}: Is a directory" in one_line(error)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"version https://git-lfs"])
def test_a_file_of_another_kind_is_refused_before_anything_is_built(tmp_path, content):
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        resolve_weights(str(path))
    assert f"{path} is not an HDF5 file" in one_line(error)


def write_weights_of_another_network(path):
    other = tf_keras.Sequential([tf_keras.Input([4]), tf_keras.layers.Dense(2)])
    other.save_weights(str(path))


def write_truncated(path):
    write_weights_of_another_network(path)
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("write", [write_weights_of_another_network, write_truncated])
def test_an_hdf5_file_that_does_not_fit_is_one_line(tmp_path, write):
    path = tmp_path / "weights.h5"
    write(path)
    with pytest.raises(ConfigError) as error:
        build_network(SETTINGS, resolve_weights(str(path)))
    assert f"{path} does not fit EfficientNetB3" in one_line(error)


def test_imagenet_without_a_network_says_how_to_give_a_file(monkeypatch):
    def unreachable(*_, **__):
        # As tf_keras.utils.get_file raises it.
        raise Exception(
            "URL fetch failure on https://storage.googleapis.com/x: None -- [Errno -2]\nunknown"
        )

    monkeypatch.setattr(tf_keras.utils, "get_file", unreachable)
    with pytest.raises(ConfigError) as error:
        resolve_weights("imagenet")
    line = one_line(error)
    assert "URL fetch failure" in line
    assert "--set model.weights=PATH" in line
    assert "efficientnetb3_notop.h5" in line


def test_a_file_is_known_by_its_content_wherever_it_lies(tmp_path):
    path, moved = tmp_path / "weights.h5", tmp_path / "moved.h5"
    write_weights_of_another_network(path)
    moved.write_bytes(path.read_bytes())
    found = resolve_weights(str(path))
    assert found.fingerprint == hashlib.md5(path.read_bytes()).hexdigest()
    assert resolve_weights(str(moved)).fingerprint == found.fingerprint
    assert not found.is_keras_imagenet


def test_a_path_relative_to_the_caller_still_points_at_the_file_elsewhere(tmp_path, monkeypatch):
    write_weights_of_another_network(tmp_path / "weights.h5")
    monkeypatch.chdir(tmp_path)
    assert resolve_weights("weights.h5").path == str(tmp_path / "weights.h5")


def test_keras_s_own_file_is_recognised():
    """By the checksum under which Keras itself fetches it."""
    from tf_keras.src.applications import efficientnet

    _, without_top = efficientnet.WEIGHTS_HASHES["b3"]
    assert BackboneWeights("anywhere.h5", without_top).is_keras_imagenet
