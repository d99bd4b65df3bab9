"""Random changes of training slices, in the input pipeline and never in the exported model."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far a slice may be changed (paper, section on augmentation: rotation to pad).

    Attributes:
      rotation: degrees, either way.
      shift: of width and height, share of the side, either way.
      flip: left to right, for half of the slices.
      pad: zoom out by up to this share.
      zoom: zoom in by up to this share.
      brightness: added to the scaled values, either way.
      contrast: factor around the slice's mean, 1 plus or minus this.
    """

    rotation: float = 0.0
    shift: float = 0.0
    flip: bool = False
    pad: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    @property
    def changes_anything(self) -> bool:
        """Whether any change is switched on."""
        return any(dataclasses.astuple(self))


def _output_to_input(
    augmentation: Augmentation, batch: tf.Tensor, side: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Random similarity transforms, float32 [batch, 8], from output to input pixels."""

    def uniform(number: int, low: float, high: float) -> tf.Tensor:
        return tf.random.stateless_uniform([batch], seed + number, low, high)

    angle = uniform(0, -augmentation.rotation, augmentation.rotation) * (math.pi / 180.0)
    scale = uniform(1, 1.0 - augmentation.zoom, 1.0 + augmentation.pad)
    shift_x = uniform(2, -augmentation.shift, augmentation.shift) * side
    shift_y = uniform(3, -augmentation.shift, augmentation.shift) * side
    mirror = tf.ones([batch])
    if augmentation.flip:
        # Not the sign of a number around 0: that of 0 would collapse the slice to a line.
        mirror = tf.where(uniform(4, 0.0, 1.0) < 0.5, -1.0, 1.0)
    cosine, sine = tf.cos(angle) * scale, tf.sin(angle) * scale
    middle = (side - 1.0) / 2.0
    offset_x = middle + shift_x - (cosine * mirror - sine) * middle
    offset_y = middle + shift_y - (sine * mirror + cosine) * middle
    zeros = tf.zeros([batch])
    return tf.stack(
        [cosine * mirror, -sine, offset_x, sine * mirror, cosine, offset_y, zeros, zeros], axis=1
    )


def augment(
    image: tf.Tensor, augmentation: Augmentation, *, air: float, seed: tf.Tensor
) -> tf.Tensor:
    """Change each slice of a batch at random.

    Args:
      image: float32 [batch, s, s, 1], zero-centred scaled values.
      augmentation: how far.
      air: the value of air, which fills what comes in from outside.
      seed: int64 [2]; the same seed changes the same way.

    Returns:
      float32 [batch, s, s, 1], within the range that Transform can give.
    """
    seed = tf.cast(seed, tf.int64)
    shape = tf.shape(image)
    batch, side = shape[0], tf.cast(shape[1], tf.float32)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image,
        transforms=_output_to_input(augmentation, batch, side, seed),
        output_shape=shape[1:3],
        fill_value=air,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    moved.set_shape(image.shape)
    if augmentation.contrast:
        low, high = 1.0 - augmentation.contrast, 1.0 + augmentation.contrast
        factor = tf.random.stateless_uniform([batch, 1, 1, 1], seed + 5, low, high)
        mean = tf.reduce_mean(moved, axis=[1, 2, 3], keepdims=True)
        moved = (moved - mean) * factor + mean
    if augmentation.brightness:
        limit = augmentation.brightness
        moved += tf.random.stateless_uniform([batch, 1, 1, 1], seed + 6, -limit, limit)
    return tf.clip_by_value(moved, air, air + 1.0)
