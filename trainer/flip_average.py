"""Flip averaging: the answer is the mean of those to a slice and to its mirror image."""

from __future__ import annotations

import tensorflow as tf
import tf_keras


def flip_averaged(model: tf_keras.Model) -> tf_keras.Model:
    """A model that averages another's logits over a slice and its left-right mirror image.

    Both go through the network in one batch: a pass for each takes as long on a CPU and keeps one
    more copy of the network in an exported graph.

    Args:
      model: from float32 [batch, s, s, 1] to a logit, float32 [batch, 1]; its weights are shared.

    Returns:
      A model of the same input and output.
    """
    image = tf_keras.Input(model.input_shape[1:], name="image")
    logits = model(tf.concat([image, tf.reverse(image, axis=[2])], axis=0))
    mean = tf.reduce_mean(tf.reshape(logits, [2, -1, 1]), axis=0)
    return tf_keras.Model(image, mean, name=f"{model.name}_flip_averaged")
