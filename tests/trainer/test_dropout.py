"""Dropout that depends on seed, epoch, step and layer alone."""

import numpy as np
import tensorflow as tf

from trainer.dropout import dropout_generators, reset_generators
from trainer.model import ModelSettings, build_network
from trainer.weights import BackboneWeights

IMAGES = tf.random.stateless_uniform([8, 32, 32, 1], [1, 2])


def tiny_network():
    settings = ModelSettings(
        backbone="tiny",
        head="gap",
        dropout=0.5,
        batch_norm="trainable",
        batch_norm_momentum=None,
        image_size=32,
        centre=0.25,
    )
    return build_network(settings, BackboneWeights(None, "none"))


def test_an_epoch_drops_the_same_again_and_another_epoch_or_seed_others():
    network = tiny_network()
    network.freeze_backbone()
    generators = dropout_generators(network)
    train_step = tf.function(lambda: network.model(IMAGES, training=True))

    def epoch(seed, number):
        reset_generators(generators, seed, number)
        return np.stack([train_step().numpy() for _ in range(3)])

    first = epoch(1, 0)
    assert (first[0] != first[1]).any()
    epoch(1, 1)
    np.testing.assert_array_equal(epoch(1, 0), first)
    assert (epoch(1, 1) != first).any()
    assert (epoch(2, 0) != first).any()


def test_two_layers_drop_different_things():
    layers = tiny_network(), tiny_network()
    generators = [generator for network in layers for generator in dropout_generators(network)]
    reset_generators(generators, 1, 0)
    one, other = (generator.uniform([4]).numpy() for generator in generators)
    assert (one != other).all()


def test_answers_do_not_depend_on_where_dropout_is():
    network = tiny_network()
    reset_generators(dropout_generators(network), 1, 0)
    before = network.model(IMAGES, training=False).numpy()
    reset_generators(dropout_generators(network), 2, 5)
    np.testing.assert_array_equal(network.model(IMAGES, training=False).numpy(), before)
