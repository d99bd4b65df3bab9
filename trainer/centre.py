"""What Transform subtracts: asked of its own graph, so that there is one truth."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from transform import ct_example, preprocessing


def fitted_centre(transform: tft.TFTransformOutput, hu_min: float) -> float:
    """The centre, from what the Transform graph makes of a slice of nothing but `hu_min`.

    Such a slice scales to 0, and what comes out is 0 minus the centre.

    Args:
      transform: the fitted graph.
      hu_min: the HU that scales to 0.
    """
    empty = ct_example.encode_png16(np.zeros([8, 8], np.uint16))
    features = {
        ct_example.IMAGE: tf.constant([empty]),
        ct_example.SLOPE: tf.constant([1.0]),
        ct_example.INTERCEPT: tf.constant([hu_min], tf.float32),
    }
    image = transform.transform_features_layer()(features)[preprocessing.IMAGE]
    return -float(image[0, 0, 0, 0])
