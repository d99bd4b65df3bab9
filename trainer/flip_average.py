"""Flip averaging: the answer is the mean of those to a slice and to its mirror image."""

from __future__ import annotations

import tensorflow as tf
import tf_keras


def both_views(image: tf.Tensor) -> tf.Tensor:
    """Slices and then their mirror images, [2 batch, s, s, c], of slices [batch, s, s, c].

    Both go through the network in one batch: a pass for each takes as long on a CPU and keeps one
    more copy of the network in an exported graph.
    """
    return tf.concat([image, tf.reverse(image, axis=[2])], axis=0)


def mean_of_views(logits: tf.Tensor) -> tf.Tensor:
    """The mean logit of each slice, [batch, 1], of those to `both_views`, [2 batch, 1]."""
    return tf.reduce_mean(tf.reshape(logits, [2, -1, 1]), axis=0)


def flip_averaged(model: tf_keras.Model) -> tf_keras.Model:
    """A model that averages another's logits over a slice and its left-right mirror image.

    Args:
      model: from float32 [batch, s, s, 1] to a logit, float32 [batch, 1]; its weights are shared.

    Returns:
      A model of the same input and output.
    """
    image = tf_keras.Input(model.input_shape[1:], name="image")
    mean = mean_of_views(model(both_views(image)))
    return tf_keras.Model(image, mean, name=f"{model.name}_flip_averaged")
