"""Grad-CAM: where in a slice the evidence for the positive class lies (Selvaraju et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def evidence(features: tf.Tensor, logit_of: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """The weighted sum of the feature maps, where it speaks for the positive class.

    A map's weight is the mean derivative of the logit with regard to it (equations 1 and 2).

    Args:
      features: float32 [batch, h, w, c], the last ones of the backbone.
      logit_of: makes logits, float32 [batch, 1], of them.

    Returns:
      float32 [batch, h, w], not negative.
    """
    with tf.GradientTape() as tape:
        tape.watch(features)
        # Slices do not see each other, so that the sum's derivative has each one's own.
        total = tf.reduce_sum(logit_of(features))
    weights = tf.reduce_mean(tape.gradient(total, features), axis=[1, 2], keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))


def heatmap(of_features: tf.Tensor, side: int) -> tf.Tensor:
    """Evidence as a map over the model's input.

    Args:
      of_features: float32 [batch, h, w], not negative.
      side: of the model's input, pixels.

    Returns:
      float32 [batch, side, side] in [0, 1], interpolated bilinearly, each slice's strongest place
      at 1; all zeros where nothing speaks for the positive class.
    """
    upsampled = tf.image.resize(of_features[..., tf.newaxis], [side, side])[..., 0]
    strongest = tf.reduce_max(upsampled, axis=[1, 2], keepdims=True)
    return tf.math.divide_no_nan(upsampled, strongest)
