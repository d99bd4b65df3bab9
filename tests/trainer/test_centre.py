"""What Transform subtracts, asked of its graph."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from trainer.centre import fitted_centre
from transform import ct_example, preprocessing
from transform.ct_example import TRAIN
from transform.hounsfield import scaled_slices


def test_the_fitted_centre_is_the_mean_of_the_scaled_training_slices(study):
    number = tf.io.FixedLenFeature([], tf.float32)
    raw = tf.io.parse_example(
        study.raw[TRAIN],
        {
            ct_example.IMAGE: tf.io.FixedLenFeature([], tf.string),
            ct_example.SLOPE: number,
            ct_example.INTERCEPT: number,
        },
    )
    scaled = scaled_slices(
        raw[ct_example.IMAGE],
        raw[ct_example.SLOPE],
        raw[ct_example.INTERCEPT],
        hu_min=-1000.0,
        hu_max=400.0,
        size=32,
    )
    wanted = float(np.mean(scaled.numpy(), dtype=np.float64))
    assert 0.2 < wanted < 0.8
    assert fitted_centre(study.transform, -1000.0) == pytest.approx(wanted, abs=1e-6)


def test_the_training_slices_are_centred_on_zero(study):
    images = [one[preprocessing.IMAGE] for one in study.parsed(TRAIN).values()]
    assert np.mean(images, dtype=np.float64) == pytest.approx(0.0, abs=1e-6)


class ConstantCentre(tft.TFTransformOutput):
    """The graph of a Transform that subtracts a number, traced without a Beam run."""

    def __init__(self, centre, hu_min):
        self._config = {
            "hu_min": hu_min,
            "hu_max": 400.0,
            "image_size": 32,
            "zero_centre": centre,
        }

    def transform_features_layer(self):
        unused = tf.constant([b""])
        return lambda features: preprocessing.preprocessing_fn(
            {
                **features,
                ct_example.LABEL: tf.constant([0]),
                ct_example.IMAGE_ID: unused,
                ct_example.PATIENT_ID: unused,
            },
            self._config,
        )


@pytest.mark.parametrize(("centre", "hu_min"), [(0.25, -1000.0), (0.0, -1350.0)])
def test_a_number_in_the_configuration_is_the_centre(centre, hu_min):
    assert fitted_centre(ConstantCentre(centre, hu_min), hu_min) == pytest.approx(centre, abs=1e-6)
