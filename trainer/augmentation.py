"""Random changes of training slices, in the input pipeline and never in the exported model."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from transform.augmentation_limits import AugmentationLimits


class Augmentation(AugmentationLimits):
    """The changes of the input pipeline."""

    @property
    def moves_pixels(self) -> bool:
        """Whether any change of where the pixels are is switched on."""
        return any((self.rotation, self.shift, self.flip, self.pad, self.zoom))

    @property
    def changes_anything(self) -> bool:
        """Whether any change is switched on."""
        return any(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True)
class _Draws:
    """What chance decides for one slice, float32 [] in [0, 1) each.

    All of it is drawn whatever is switched on, so that a setting does not change what the others
    do to a slice.
    """

    turn: tf.Tensor
    right: tf.Tensor
    down: tf.Tensor
    mirror: tf.Tensor
    size: tf.Tensor
    brightness: tf.Tensor
    contrast: tf.Tensor

    @classmethod
    def of(cls, seed: tf.Tensor) -> _Draws:
        count = len(dataclasses.fields(cls))
        return cls(*tf.unstack(tf.random.stateless_uniform([count], seed)))


def _either_way(draw: tf.Tensor, limit: float) -> tf.Tensor:
    return (2.0 * draw - 1.0) * limit


def _output_to_input(augmentation: Augmentation, side: int, draws: _Draws) -> tf.Tensor:
    """A similarity transform from output to input pixels, float32 [8]."""
    angle = _either_way(draws.turn, augmentation.rotation) * (math.pi / 180.0)
    smallest, largest = 1.0 - augmentation.zoom, 1.0 + augmentation.pad
    scale = smallest + draws.size * (largest - smallest)
    shift_x = _either_way(draws.right, augmentation.shift) * side
    shift_y = _either_way(draws.down, augmentation.shift) * side
    mirror = tf.where(draws.mirror < 0.5, -1.0, 1.0) if augmentation.flip else tf.constant(1.0)
    cosine, sine = tf.cos(angle) * scale, tf.sin(angle) * scale
    middle = (side - 1.0) / 2.0
    offset_x = middle + shift_x - (cosine * mirror - sine) * middle
    offset_y = middle + shift_y - (sine * mirror + cosine) * middle
    return tf.stack([cosine * mirror, -sine, offset_x, sine * mirror, cosine, offset_y, 0.0, 0.0])


def augment(
    image: tf.Tensor, augmentation: Augmentation, *, air: float, seed: tf.Tensor
) -> tf.Tensor:
    """Change a slice at random.

    One slice and not a batch, so that what becomes of it does not depend on its neighbours.

    Args:
      image: float32 [s, s, 1], zero-centred scaled values; its shape is static.
      augmentation: how far; with everything off the slice is returned as it is.
      air: the value of air, which fills what comes in from outside.
      seed: int32 or int64 [2]; the same seed changes the same way.

    Returns:
      float32 [s, s, 1], within the range that Transform can give: [air, air + 1].
    """
    if not augmentation.changes_anything:
        return image
    draws = _Draws.of(seed)
    if augmentation.moves_pixels:
        (image,) = tf.unstack(
            tf.raw_ops.ImageProjectiveTransformV3(
                images=image[tf.newaxis],
                transforms=_output_to_input(augmentation, image.shape[0], draws)[tf.newaxis],
                output_shape=image.shape[:2],
                fill_value=air,
                interpolation="BILINEAR",
                fill_mode="CONSTANT",
            )
        )
    if augmentation.contrast:
        mean = tf.reduce_mean(image)
        image = (image - mean) * (1.0 + _either_way(draws.contrast, augmentation.contrast)) + mean
    if augmentation.brightness:
        image += _either_way(draws.brightness, augmentation.brightness)
    return tf.clip_by_value(image, air, air + 1.0)
