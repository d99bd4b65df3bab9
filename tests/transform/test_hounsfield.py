"""The operations between a stored slice and the model's input, in numbers."""

import numpy as np
import pytest
import tensorflow as tf

from transform.ct_example import encode_png16
from transform.hounsfield import clip_and_scale, decode_stored, resize, scaled_slices, to_hounsfield

GENERATOR = np.random.default_rng(11)


def scaled(stored_slices, slopes, intercepts, size):
    return scaled_slices(
        tf.constant([encode_png16(stored) for stored in stored_slices]),
        tf.constant(slopes, tf.float32),
        tf.constant(intercepts, tf.float32),
        hu_min=-1000.0,
        hu_max=400.0,
        size=size,
    ).numpy()


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (64, 48)])
def test_every_stored_value_survives_the_png(shape):
    stored = GENERATOR.integers(0, 65536, shape, dtype=np.uint16)
    stored.flat[0] = 65535
    np.testing.assert_array_equal(decode_stored(encode_png16(stored)).numpy()[..., 0], stored)


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 1), np.uint16)])
def test_only_unsigned_sixteen_bit_slices_are_stored(wrong):
    with pytest.raises(ValueError, match="expected uint16"):
        encode_png16(wrong)


def test_hounsfield_units_are_slope_times_stored_plus_intercept():
    stored = GENERATOR.integers(0, 4096, (6, 7, 1)).astype(np.float32)
    hounsfield = to_hounsfield(tf.constant(stored), tf.constant(0.5), tf.constant(-1024.0))
    np.testing.assert_array_equal(hounsfield.numpy(), stored * 0.5 - 1024.0)


@pytest.mark.parametrize(
    ("hounsfield", "expected"),
    [
        (-3024.0, 0.0),  # outside the scanner's field of view
        (-1000.0, 0.0),  # air
        (-650.0, 0.25),  # the paper's centre
        (-300.0, 0.5),
        (0.0, 1000 / 1400),  # water
        (400.0, 1.0),
        (3071.0, 1.0),  # metal
    ],
)
def test_clip_and_scale_gives_the_numbers_of_the_paper(hounsfield, expected):
    assert clip_and_scale(tf.constant(hounsfield), -1000.0, 400.0).numpy() == pytest.approx(
        expected
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 300, 1), (512, 512, 1)])
def test_a_resize_keeps_a_constant_picture(shape):
    np.testing.assert_allclose(resize(tf.fill(shape, 0.37), 24).numpy(), 0.37, rtol=1e-5)


def test_a_resize_to_the_same_size_changes_nothing():
    image = GENERATOR.random((24, 24, 1), dtype=np.float32)
    np.testing.assert_allclose(resize(tf.constant(image), 24).numpy(), image, atol=1e-6)


def test_texture_finer_than_the_result_fades_to_its_mean_instead_of_aliasing():
    checkerboard = (np.indices((120, 120)).sum(axis=0) % 2).astype(np.float32)[..., None]
    resized = resize(tf.constant(checkerboard), 24).numpy()
    assert np.ptp(resized[2:-2, 2:-2]) < 0.1
    assert resized.mean() == pytest.approx(0.5, abs=0.02)


def test_a_slice_is_clipped_before_it_is_resized():
    # Metal beside air: clipped first their mean is 0.5, clipped last it would be 1.
    stored = np.zeros((64, 64), np.uint16)
    stored[:, ::2] = 4095
    (image,) = scaled([stored], [1.0], [-1000.0], size=8)
    np.testing.assert_allclose(image[1:-1, 1:-1], 0.5, atol=0.05)


def test_slices_of_different_sizes_share_a_batch_and_keep_their_own_units():
    small, large = np.full((61, 115), 1000, np.uint16), np.full((512, 400), 700, np.uint16)
    batch = scaled([small, large], slopes=[0.5, 1.0], intercepts=[-1150.0, -1000.0], size=16)
    assert batch.shape == (2, 16, 16, 1)
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch[0], (500 - 1150 + 1000) / 1400, rtol=1e-5)
    np.testing.assert_allclose(batch[1], (700 - 1000 + 1000) / 1400, rtol=1e-5)


def test_a_slice_is_the_same_alone_and_in_a_batch():
    slices = [GENERATOR.integers(0, 3000, (30 + i, 40), dtype=np.uint16) for i in range(3)]
    slopes, intercepts = [1.0, 2.0, 0.5], [-1024.0, -500.0, -1000.0]
    batch = scaled(slices, slopes, intercepts, size=20)
    for i, one in enumerate(slices):
        (alone,) = scaled([one], [slopes[i]], [intercepts[i]], size=20)
        np.testing.assert_array_equal(alone, batch[i])
