"""The preprocessing_fn that TFT traces: its graph goes into the exported model unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from transform import ct_example
from transform.hounsfield import scaled_slices

IMAGE = "image"
"""Transformed feature: float32 [batch, size, size, 1], scaled HU minus the centre."""
LABEL = ct_example.LABEL
IMAGE_ID = "image_id"
PATIENT_ID = ct_example.PATIENT_ID

FITTED = "fitted"
"""Value of `zero_centre` that asks for the mean of the training split."""


def preprocessing_fn(
    inputs: Mapping[str, tf.Tensor], custom_config: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """From raw CT examples to the model's input (paper, section 3: HU, [0, 1], zero-centred).

    Args:
      inputs: the features of the CT example, batched.
      custom_config: `hu_min`, `hu_max` (HU), `image_size` (pixels) and `zero_centre`: a number
        that is subtracted, or "fitted" for the mean over the training split. (In the paper 0.25.)

    Returns:
      `image` float32 [batch, size, size, 1], `label` int64 [batch], `image_id` and `patient_id`
      string [batch].
    """
    scaled = scaled_slices(
        inputs[ct_example.IMAGE],
        inputs[ct_example.SLOPE],
        inputs[ct_example.INTERCEPT],
        hu_min=custom_config["hu_min"],
        hu_max=custom_config["hu_max"],
        size=custom_config["image_size"],
    )
    # After the resize, so that each slice weighs the same in the mean whatever its size; the
    # resize is linear with weights that sum to 1, so that the result is the same otherwise.
    zero_centre = custom_config["zero_centre"]
    if zero_centre == FITTED:
        # In float64, because Beam batches slices as they come, and the order must not show.
        means = tf.reduce_mean(tf.cast(scaled, tf.float64), axis=[1, 2, 3])
        centre = tf.cast(tft.mean(means), tf.float32)
    else:
        centre = tf.constant(zero_centre, tf.float32)
    return {
        IMAGE: scaled - centre,
        LABEL: inputs[ct_example.LABEL],
        IMAGE_ID: inputs[ct_example.IMAGE_ID],
        PATIENT_ID: inputs[ct_example.PATIENT_ID],
    }
