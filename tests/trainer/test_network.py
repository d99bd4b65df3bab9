"""The network: what its backbone sees, what is trained when, and its heads."""

import dataclasses

import numpy as np
import pytest
import tf_keras
from tf_keras.src.utils import data_utils

from trainer.model import ModelSettings, build_network, to_backbone_range
from trainer.weights import BackboneWeights, resolve_weights

RANDOM = BackboneWeights(None, "none")
B3 = ModelSettings(
    backbone="efficientnet-b3",
    head="gap",
    dropout=0.3,
    batch_norm="trainable",
    batch_norm_momentum=None,
    image_size=32,
    centre=0.31,
)
TINY = dataclasses.replace(B3, backbone="tiny")


def grey_slices(side, count=2):
    """A picture in whole grey levels 0..255, float32 [count, side, side, 1]."""
    generator = np.random.default_rng(4)
    return generator.integers(0, 256, (count, side, side, 1)).astype(np.float32)


def as_model_input(grey, centre):
    """What Transform makes of grey levels: scaled to [0, 1], minus the centre."""
    return (grey / 255.0 - centre).astype(np.float32)


def backbone_output(network):
    """From the network's own input to the backbone's features, as they lie inside the network."""
    position = network.model.layers.index(network.backbone)
    features = network.model.layers[position].get_output_at(-1)
    return tf_keras.Model(network.model.input, features)


@pytest.mark.parametrize("centre", [0.0, 0.31])
def test_the_backbone_sees_grey_levels_whatever_was_subtracted(centre):
    grey = grey_slices(8)
    seen = to_backbone_range(as_model_input(grey, centre), centre).numpy()
    assert seen.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(seen, np.repeat(grey, 3, axis=-1), atol=1e-3)


@pytest.mark.slow
@pytest.mark.shared
def test_a_pretrained_backbone_sees_what_it_saw_in_pretraining(shared_weights):
    network = build_network(B3, resolve_weights(str(shared_weights)))
    keras = tf_keras.applications.EfficientNetB3(
        include_top=False, weights=str(shared_weights), input_shape=(32, 32, 3)
    )
    grey = grey_slices(32)
    wanted = keras(np.repeat(grey, 3, axis=-1), training=False).numpy()
    found = backbone_output(network)(as_model_input(grey, B3.centre), training=False).numpy()
    assert np.ptp(wanted) > 1.0
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.slow
@pytest.mark.shared
def test_keras_s_own_file_gives_what_keras_builds_with_imagenet(shared_weights, monkeypatch):
    """The file stands in for Keras's own, which has the same layout."""
    monkeypatch.setattr(data_utils, "get_file", lambda *_, **__: str(shared_weights))
    keras = tf_keras.applications.EfficientNetB3(
        include_top=False, weights="imagenet", input_shape=(32, 32, 3)
    )
    fingerprint = "af6d107764bb5b1abb91932881670226"
    weights = BackboneWeights(str(shared_weights), fingerprint)
    assert weights.is_keras_imagenet
    grey = grey_slices(32)
    wanted = keras(np.repeat(grey, 3, axis=-1), training=False).numpy()
    network = build_network(B3, weights)
    found = backbone_output(network)(as_model_input(grey, B3.centre), training=False).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def batch_norms(network):
    return [
        layer
        for layer in network.backbone.layers
        if isinstance(layer, tf_keras.layers.BatchNormalization)
    ]


def names(variables):
    return {variable.name for variable in variables}


@pytest.fixture
def tiny():
    return build_network(TINY, RANDOM)


def test_while_the_backbone_is_frozen_only_the_head_learns(tiny):
    tiny.freeze_backbone()
    assert names(tiny.model.trainable_variables) == {"logit/kernel:0", "logit/bias:0"}


def test_a_frozen_backbone_keeps_its_averages_even_in_a_training_step(tiny):
    tiny.freeze_backbone()
    before = [variable.numpy() for variable in tiny.backbone.variables]
    tiny.model(as_model_input(grey_slices(32), TINY.centre), training=True)
    for variable, value in zip(tiny.backbone.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_thawing_with_trainable_batch_norm_trains_everything(tiny):
    tiny.freeze_backbone()
    tiny.thaw_backbone("trainable")
    # Three convolutions, gamma and beta of three BatchNorms, kernel and bias of the logit.
    assert len(tiny.model.trainable_variables) == 3 + 6 + 2
    mean = batch_norms(tiny)[0].moving_mean.numpy()
    tiny.model(as_model_input(grey_slices(32), TINY.centre), training=True)
    assert np.abs(batch_norms(tiny)[0].moving_mean.numpy() - mean).max() > 0


def test_thawing_with_frozen_batch_norm_leaves_batch_norm_alone(tiny):
    tiny.freeze_backbone()
    tiny.thaw_backbone("frozen")
    assert len(tiny.model.trainable_variables) == 3 + 2
    mean = batch_norms(tiny)[0].moving_mean.numpy()
    tiny.model(as_model_input(grey_slices(32), TINY.centre), training=True)
    np.testing.assert_array_equal(batch_norms(tiny)[0].moving_mean.numpy(), mean)


def test_batch_norm_momentum_sets_how_fast_the_averages_follow():
    network = build_network(dataclasses.replace(TINY, batch_norm_momentum=0.5), RANDOM)
    assert [layer.momentum for layer in batch_norms(network)] == [0.5] * 3
    assert batch_norms(build_network(TINY, RANDOM))[0].momentum == 0.99
    first = batch_norms(network)[0]
    before = first.moving_variance.numpy()
    after_one = []
    image = as_model_input(grey_slices(32), TINY.centre)
    for _ in range(2):
        network.model(image, training=True)
        after_one.append(first.moving_variance.numpy())
    # Each step halves what is left of the way to the batch's variance.
    np.testing.assert_allclose(
        2.0 * (after_one[1] - after_one[0]), after_one[0] - before, rtol=1e-3, atol=1e-6
    )


@pytest.mark.slow
def test_the_paper_s_head_pools_4_by_4_then_flattens_to_a_dense_layer():
    network = build_network(dataclasses.replace(B3, head="paper", image_size=224), RANDOM)
    shapes = {type(layer).__name__: layer.output_shape for layer in network.model.layers[-4:]}
    assert network.backbone.output_shape == (None, 7, 7, 1536)
    assert shapes["AveragePooling2D"] == (None, 1, 1, 1536)
    assert shapes["Flatten"] == (None, 1536)
    assert network.model.input_shape == (None, 224, 224, 1)
    assert network.model.output_shape == (None, 1)
    assert network.model.layers[-2].activation is tf_keras.activations.relu


def test_the_gap_head_drops_the_share_it_is_told_to(tiny):
    *_, pool, dropout, logit = tiny.model.layers
    assert isinstance(pool, tf_keras.layers.GlobalAveragePooling2D)
    assert dropout.rate == TINY.dropout
    assert tiny.model.output_shape == (None, 1)
    assert logit.activation is tf_keras.activations.linear
