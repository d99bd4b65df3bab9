"""Dropout that can be repeated: what is dropped depends on seed, epoch, step and layer alone.

Dropout and EfficientNet's stochastic depth (Huang et al. 2016) otherwise draw from the inside of
TensorFlow's kernels, which no checkpoint holds: training that goes on would drop others than
training that was never stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
import tf_keras

if TYPE_CHECKING:
    from trainer.model import Network

# At import, because a layer chooses when it is made: this must come before any network.
tf_keras.backend.experimental.enable_tf_random_generator()


def dropout_generators(network: Network) -> list[tf.random.Generator]:
    """The generators that a network's layers draw from, in the order of the layers.

    Raises:
      ValueError: a layer draws from elsewhere; it was made before this module was imported.
    """
    layers = [*network.backbone.layers, *network.model.layers]
    dropouts = [layer for layer in layers if isinstance(layer, tf_keras.layers.Dropout)]
    # tf_keras has no public name for it.
    generators = [layer._random_generator._generator for layer in dropouts]
    if None in generators:
        raise ValueError("import trainer.dropout before the network is built")
    return generators


def reset_generators(generators: list[tf.random.Generator], seed: int, epoch: int) -> None:
    """Begin an epoch; replicas draw different numbers from the same state."""
    for number, generator in enumerate(generators):
        state = np.random.SeedSequence([seed, epoch, number]).generate_state(1, np.uint64)
        generator.reset_from_seed(int(state[0]))
