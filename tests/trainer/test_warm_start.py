"""A training that begins with the whole of an earlier model."""

import dataclasses
import json
import logging
import tempfile

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.model import ModelSettings, Network, build_network
from trainer.warm_start import (
    load_network_weights,
    network_folder,
    save_network,
    starting_network,
)
from trainer.weights import RANDOM_WEIGHTS
from transform.errors import ConfigError, StorageError

SETTINGS = ModelSettings(
    backbone="tiny",
    head="gap",
    dropout=0.1,
    batch_norm="trainable",
    batch_norm_momentum=0.5,
    image_size=32,
    centre=0.25,
)


def fitted(settings, most=0.3):
    """A network whose weights and BatchNorm averages are those of no fresh one."""
    network = build_network(settings, RANDOM_WEIGHTS)
    generator = np.random.default_rng(1)
    # As after fine-tuning with BatchNorm frozen: Keras then counts weights in another order.
    network.thaw_backbone("frozen")
    network.model.compile("adam", "mse")
    network.model.optimizer.build(network.model.trainable_variables)
    for variable in network.model.variables:
        variable.assign_add(tf.cast(generator.uniform(0.0, most, variable.shape), variable.dtype))
    return network


def scaled_slices(side=32):
    return np.random.default_rng(2).uniform(size=(3, side, side, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """An earlier model and the folder of its export."""
    artifact = tmp_path_factory.mktemp("model")
    export = str(artifact / "Format-Serving")
    network = fitted(SETTINGS)
    save_network(network, SETTINGS, network_folder(export))
    return network, export


def start(settings, export):
    return starting_network(settings, weights="none", base_model=export, warm_start=True)


def one_line(error, begins="model.weights: last_blessed"):
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(begins)
    return text


def test_training_begins_with_all_weights_of_the_earlier_model(earlier):
    network, export = earlier
    image = scaled_slices() - SETTINGS.centre
    started = start(SETTINGS, export)
    np.testing.assert_array_equal(started.model(image), network.model(image))
    # Training goes on from there: what was frozen then is not now.
    started.thaw_backbone("trainable")
    assert len(started.model.trainable_weights) == 3 * 3 + 2


@pytest.mark.slow
def test_training_begins_with_all_weights_of_an_earlier_efficientnet_b3(tmp_path):
    """Which keeps constants of its own, and many layers that Keras names by counting."""
    settings = dataclasses.replace(SETTINGS, backbone="efficientnet-b3")
    export = f"{tmp_path}/Format-Serving"
    # Little enough for so many layers to end in numbers.
    network = fitted(settings, most=0.01)
    (normalise,) = (
        layer
        for layer in network.backbone.layers
        if isinstance(layer, tf_keras.layers.Normalization)
    )
    # It computes with copies of its variables.
    normalise.finalize_state()
    save_network(network, settings, network_folder(export))
    started = start(settings, export)
    assert len(started.model.weights) > 400
    for one, other in zip(started.model.weights, network.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    image = scaled_slices() - settings.centre
    answers = started.model(image)
    assert np.isfinite(answers).all()
    np.testing.assert_array_equal(answers, network.model(image))


def test_another_fitted_centre_leaves_the_same_function_of_hounsfield_units(earlier):
    """A new training split has another mean; what was subtracted is added again inside."""
    network, export = earlier
    other = dataclasses.replace(SETTINGS, centre=0.31)
    image = scaled_slices()
    np.testing.assert_allclose(
        start(other, export).model(image - 0.31), network.model(image - 0.25), rtol=1e-5
    )


def test_a_network_without_fixed_places_may_see_larger_images(earlier):
    network, export = earlier
    larger = start(dataclasses.replace(SETTINGS, image_size=64), export)
    for one, other in zip(larger.model.weights, network.model.weights, strict=True):
        assert one.shape == other.shape


def test_dropout_and_batch_norm_may_change(earlier):
    _, export = earlier
    start(
        dataclasses.replace(SETTINGS, dropout=0.5, batch_norm="frozen", batch_norm_momentum=None),
        export,
    )


@pytest.mark.parametrize(
    ("made_with", "wanted", "says"),
    [
        (
            {},
            {"backbone": "efficientnet-b3"},
            "model.backbone: tiny, and this run has efficientnet-b3",
        ),
        ({}, {"head": "paper", "image_size": 128}, "set model.head: gap, or"),
        (
            {"head": "paper", "image_size": 128},
            {"image_size": 256},
            "set transform.image_size: 128, or model.weights: imagenet",
        ),
    ],
)
def test_an_earlier_model_of_another_architecture_is_one_line_that_says_what_to_set(
    tmp_path, made_with, wanted, says
):
    before = dataclasses.replace(SETTINGS, **made_with)
    now = dataclasses.replace(before, **wanted)
    network = build_network(before, RANDOM_WEIGHTS)
    save_network(network, before, network_folder(f"{tmp_path}/Format-Serving"))
    with pytest.raises(ConfigError) as error:
        # The network that is loaded into does not matter: the settings tell before it is touched.
        load_network_weights(network, now, f"{tmp_path}/Format-Serving")
    assert says in one_line(error)


def test_an_export_without_weights_beside_it_is_one_line(tmp_path):
    with pytest.raises(ConfigError) as error:
        start(SETTINGS, f"{tmp_path}/Format-Serving")
    assert "set model.weights: imagenet to start anew" in one_line(error)


@pytest.mark.parametrize("name", ["network.keras", "network.json"])
def test_damaged_weights_are_one_line(tmp_path, name):
    export = f"{tmp_path}/Format-Serving"
    save_network(build_network(SETTINGS, RANDOM_WEIGHTS), SETTINGS, network_folder(export))
    damaged = tmp_path / "network" / name
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(ConfigError) as error:
        start(SETTINGS, export)
    assert f"{tmp_path}/network has no weights that fit" in one_line(error)


def test_without_an_earlier_model_training_begins_from_the_configured_weights(caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        network = starting_network(SETTINGS, weights="none", base_model=None, warm_start=True)
    assert np.isfinite(network.model(scaled_slices())).all()
    assert "model.weights: last_blessed: none is blessed yet, so from none" in caplog.messages


def test_what_is_saved_says_which_network_it_is_and_holds_no_optimizer(earlier):
    _, export = earlier
    folder = tf.io.gfile.listdir(network_folder(export))
    assert sorted(folder) == ["network.json", "network.keras"]
    with tf.io.gfile.GFile(f"{network_folder(export)}/network.json") as file:
        assert json.loads(file.read()) == dataclasses.asdict(SETTINGS)
    whole = tf_keras.models.load_model(f"{network_folder(export)}/network.keras")
    assert whole.optimizer is None


def test_a_full_disk_is_one_line_and_leaves_no_half_folder(tmp_path, files_of_at_most):
    network = build_network(SETTINGS, RANDOM_WEIGHTS)
    with (
        files_of_at_most(20_000),
        pytest.raises(StorageError, match=f"cannot be written to {tmp_path}/network ") as error,
    ):
        save_network(network, SETTINGS, f"{tmp_path}/network")
    assert "choose another place with --workdir" in one_line(error, "the network's weights")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files, of which what is written there is told."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_the_network_is_written_where_it_belongs_and_not_to_the_temporary_folder_first(
    tmp_path, temporary, monkeypatch
):
    written = []
    save = tf_keras.Model.save
    monkeypatch.setattr(
        tf_keras.Model, "save", lambda model, path: (written.append(path), save(model, path))
    )
    save_network(build_network(SETTINGS, RANDOM_WEIGHTS), SETTINGS, f"{tmp_path}/network")
    assert [path.parent for path in written] == [tmp_path / "network.unfinished"]
    assert list(temporary.iterdir()) == []
    assert sorted(one.name for one in tmp_path.iterdir()) == ["network", "temporary"]


def test_a_network_for_storage_that_is_no_local_path_is_copied_there(earlier, tmp_path, temporary):
    network, _ = earlier
    save_network(network, SETTINGS, f"file://{tmp_path}/network")
    assert list(temporary.iterdir()) == []
    started = start(SETTINGS, f"{tmp_path}/Format-Serving")
    for one, other in zip(started.model.weights, network.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_where_the_temporary_folder_is_full_it_is_the_one_named(
    tmp_path, temporary, files_of_at_most
):
    network = build_network(SETTINGS, RANDOM_WEIGHTS)
    with files_of_at_most(20_000), pytest.raises(StorageError) as error:
        save_network(network, SETTINGS, f"file://{tmp_path}/network")
    line = one_line(error, f"the network's weights cannot be written to {temporary}/")
    assert "choose another place with TMPDIR" in line
    assert f"{tmp_path}/network" not in line
    # Keras leaves an empty folder.
    assert not [one for one in temporary.rglob("*") if one.is_file()]
    assert [one.name for one in tmp_path.iterdir()] == ["temporary"]


def test_a_temporary_folder_that_takes_nothing_of_keras_is_the_one_named(tmp_path, temporary):
    """Keras makes an empty folder there, wherever it writes."""
    temporary.rmdir()
    with pytest.raises(StorageError) as error:
        save_network(build_network(SETTINGS, RANDOM_WEIGHTS), SETTINGS, f"{tmp_path}/network")
    line = one_line(error, f"the network's weights cannot be written to {temporary} (")
    assert "choose another place with TMPDIR" in line
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_training_left_half_written_is_replaced(tmp_path):
    left = tmp_path / "network.unfinished"
    left.mkdir()
    (left / "network.keras").write_bytes(b"half")
    save_network(build_network(SETTINGS, RANDOM_WEIGHTS), SETTINGS, f"{tmp_path}/network")
    assert [one.name for one in tmp_path.iterdir()] == ["network"]
    start(SETTINGS, f"{tmp_path}/Format-Serving")


def network_that_normalises(mean, variance):
    normalise = tf_keras.layers.Normalization(axis=-1)
    model = tf_keras.Sequential([tf_keras.Input([32, 32, 1]), normalise])
    normalise.adapt_mean.assign([mean])
    normalise.adapt_variance.assign([variance])
    normalise.finalize_state()
    return Network(model, model)


def test_what_the_backbone_normalises_with_is_part_of_a_warm_start(tmp_path):
    """EfficientNet's Normalization layer keeps constants beside its weights; they must follow."""
    earlier, started = network_that_normalises(0.5, 0.2), network_that_normalises(0.0, 1.0)
    save_network(earlier, SETTINGS, f"{tmp_path}/network")
    load_network_weights(started, SETTINGS, f"{tmp_path}/Format-Serving")
    np.testing.assert_array_equal(started.model(scaled_slices()), earlier.model(scaled_slices()))
    assert not np.array_equal(started.model(scaled_slices()), scaled_slices())


def test_the_network_lies_beside_its_export_on_object_storage_too():
    assert network_folder("gs://bucket/Trainer/model/3/Format-Serving") == (
        "gs://bucket/Trainer/model/3/network"
    )


def test_weights_with_a_flipped_bit_are_one_line(tmp_path):
    export = f"{tmp_path}/Format-Serving"
    save_network(build_network(SETTINGS, RANDOM_WEIGHTS), SETTINGS, network_folder(export))
    damaged = tmp_path / "network" / "network.keras"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 0x01
    damaged.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        start(SETTINGS, export)
    assert "has no weights that fit" in one_line(error)
