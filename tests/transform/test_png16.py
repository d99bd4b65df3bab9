"""A slice's pixels come back from its PNG, whoever decodes it."""

import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from transform.phantom import draw_patient, render_slice
from transform.png16 import encode_png16


def assert_comes_back(stored):
    encoded = encode_png16(stored)
    with Image.open(io.BytesIO(encoded)) as image:
        image.load()
        assert (image.format, image.mode) == ("PNG", "I;16")
        np.testing.assert_array_equal(np.asarray(image), stored)
    by_graph = tf.io.decode_png(encoded, dtype=tf.uint16).numpy()
    np.testing.assert_array_equal(by_graph, stored[..., None])


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    highest=st.sampled_from([0, 1, 255, 256, 4095, 65535]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_size_and_content_comes_back(height, width, highest, seed):
    draw = np.random.default_rng(seed)
    stored = draw.integers(0, highest, (height, width), np.uint16, endpoint=True)
    # A smooth part and a random one: both kinds of deflate block.
    stored[: height // 2] = stored[0]
    assert_comes_back(stored)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2049), (2049, 1), (511, 513), (1024, 1024)])
def test_odd_shapes_of_random_pixels_come_back(shape):
    assert_comes_back(np.random.default_rng(0).integers(0, 2**16, shape).astype(np.uint16))


def test_views_come_back():
    stored = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2700
    for view in (stored.T, stored[::-1], stored[:, ::2], np.asfortranarray(stored)):
        assert_comes_back(view)


def test_ct_takes_no_more_room_than_pillow_gives_it():
    hu = render_slice(draw_patient(seed=0, number=1), index=2, slices=4, size=256).hu
    stored = (hu.astype(np.int32) + 1024).astype(np.uint16)
    by_pillow = io.BytesIO()
    Image.fromarray(stored).save(by_pillow, format="PNG", compress_level=1)
    assert len(encode_png16(stored)) <= 1.05 * len(by_pillow.getvalue())


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros([4, 4], np.int16),
        np.zeros([4, 4], np.uint8),
        np.zeros([4, 4, 1], np.uint16),
        np.zeros([0, 4], np.uint16),
        np.zeros([4, 0], np.uint16),
    ],
)
def test_what_is_no_16_bit_grey_picture_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expected uint16 \[height, width\]"):
        encode_png16(wrong)
