"""Random changes of training slices."""

import numpy as np
import pytest
import tensorflow as tf

from trainer import augmentation as augmentation_module
from trainer.augmentation import Augmentation, augment

CENTRE = 0.25
AIR = -CENTRE
SIDE = 33
EVERYTHING = Augmentation(
    rotation=15.0, shift=0.1, flip=True, pad=0.2, zoom=0.2, brightness=0.1, contrast=0.2
)


def slices(count=6):
    generator = np.random.default_rng(0)
    return generator.uniform(AIR, AIR + 1.0, (count, SIDE, SIDE, 1)).astype(np.float32)


def bright(count=1):
    """Slices of nothing but the densest value, so that every pixel of air came from outside."""
    return np.full((count, SIDE, SIDE, 1), AIR + 1.0, np.float32)


def changed(images, augmentation, seed=1):
    """Each slice changed with the same seed and its own number."""
    return np.stack(
        [
            augment(tf.constant(one), augmentation, air=AIR, seed=tf.constant([seed, number]))
            for number, one in enumerate(images)
        ]
    )


def pin(monkeypatch, at):
    """Draw the same share of every range: 0 its lowest value, 1 its highest."""
    monkeypatch.setattr(
        augmentation_module.tf.random, "stateless_uniform", lambda shape, _: tf.fill(shape, at)
    )


def test_the_same_seed_changes_the_same_way():
    np.testing.assert_array_equal(changed(slices(), EVERYTHING), changed(slices(), EVERYTHING))


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(rotation=15.0),
        Augmentation(shift=0.1),
        Augmentation(pad=0.2),
        Augmentation(zoom=0.2),
        Augmentation(brightness=0.1),
        Augmentation(contrast=0.2),
        EVERYTHING,
    ],
)
def test_another_seed_and_another_slice_change_another_way(augmentation):
    first, second = (changed(slices(), augmentation, seed) for seed in (1, 3))
    assert np.abs(first - second).max() > 0.01
    same = np.repeat(slices(1), 4, axis=0)
    together = changed(same, augmentation)
    assert np.abs(together[1:] - together[:1]).max() > 0.01


def test_with_everything_off_not_a_bit_changes():
    assert not Augmentation().changes_anything
    # Beyond the range too: a slice is not even clipped.
    image = 3.0 * slices()
    assert changed(image, Augmentation()).tobytes() == image.tobytes()


def test_a_setting_does_not_change_what_the_others_do_to_a_slice():
    image = np.clip(slices(1), AIR + 0.3, AIR + 0.7)
    turned = changed(image, Augmentation(rotation=15.0))
    both = changed(image, Augmentation(rotation=15.0, brightness=0.1))
    inside = slice(SIDE // 3, -(SIDE // 3))  # no corner that was clipped to air
    difference = (both - turned)[0, inside, inside]
    assert difference.min() == pytest.approx(difference.max(), abs=1e-6)
    assert abs(difference.max()) > 1e-3


@pytest.mark.parametrize("name", ["rotation", "shift", "pad", "zoom", "brightness", "contrast"])
def test_each_setting_alone_counts_as_a_change(name):
    assert Augmentation(**{name: 0.1}).changes_anything
    assert Augmentation(flip=True).changes_anything


def test_shape_type_and_range_are_those_of_transform():
    image = slices()
    result = changed(image, Augmentation(30.0, 0.3, True, 0.5, 0.5, 0.9, 0.9))
    assert result.shape == image.shape
    assert result.dtype == np.float32
    assert result.min() >= AIR
    assert result.max() <= AIR + 1.0
    assert np.isfinite(result).all()


def test_a_dataset_keeps_the_static_shape():
    data = tf.data.Dataset.from_tensor_slices(slices()).map(
        lambda image: augment(image, EVERYTHING, air=AIR, seed=tf.constant([1, 2]))
    )
    assert data.element_spec.shape == (SIDE, SIDE, 1)


def test_flip_mirrors_about_half_of_the_slices_left_to_right_and_leaves_the_others():
    image = slices(200)
    result = changed(image, Augmentation(flip=True))
    mirrored = np.abs(result - image[:, :, ::-1]).max(axis=(1, 2, 3)) < 1e-5
    kept = np.abs(result - image).max(axis=(1, 2, 3)) < 1e-5
    assert (mirrored ^ kept).all()
    assert 60 < mirrored.sum() < 140


def test_what_is_rotated_in_from_outside_is_air(monkeypatch):
    pin(monkeypatch, 1.0)
    (result,) = changed(bright(), Augmentation(rotation=45.0))
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert result[corner] == pytest.approx(AIR)
    assert result[SIDE // 2, SIDE // 2] == pytest.approx(AIR + 1.0)


def test_what_is_shifted_in_from_outside_is_air(monkeypatch):
    pin(monkeypatch, 1.0)
    image = slices(1)
    # A third of 33 pixels is 11 of them.
    (result,) = changed(image, Augmentation(shift=1.0 / 3.0))
    np.testing.assert_allclose(result[:22, :22], image[0, 11:, 11:], atol=1e-4)
    np.testing.assert_allclose(result[22:], AIR, atol=1e-4)
    np.testing.assert_allclose(result[:, 22:], AIR, atol=1e-4)


def test_pad_shrinks_the_slice_and_surrounds_it_with_air(monkeypatch):
    pin(monkeypatch, 1.0)
    (result,) = changed(bright(), Augmentation(pad=1.0))
    dense = result[..., 0] > AIR + 0.9
    # Half as wide and half as high, in the middle.
    rows, columns = np.nonzero(dense)
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (8, 24)
    assert result[0].max() == pytest.approx(AIR)


def test_zoom_enlarges_the_middle_of_the_slice(monkeypatch):
    pin(monkeypatch, 0.0)
    image = slices(1)
    (result,) = changed(image, Augmentation(zoom=0.5))
    # Every second pixel of the result is one of the middle half of the slice.
    np.testing.assert_allclose(result[::2, ::2], image[0, 8:25, 8:25], atol=1e-5)


@pytest.mark.parametrize(("at", "turns"), [(1.0, 1), (0.0, -1)])
def test_a_rotation_turns_about_the_middle_by_as_many_degrees_as_it_says(monkeypatch, at, turns):
    pin(monkeypatch, at)
    image = slices(1)
    (result,) = changed(image, Augmentation(rotation=90.0))
    middle = SIDE // 2
    assert result[middle, middle] == pytest.approx(image[0, middle, middle], abs=1e-4)
    # The outermost pixels may round to just outside.
    inner = slice(1, -1)
    wanted = np.rot90(image[0], turns)
    np.testing.assert_allclose(result[inner, inner], wanted[inner, inner], atol=1e-4)


def test_brightness_adds_the_same_to_every_pixel_of_a_slice(monkeypatch):
    pin(monkeypatch, 1.0)
    image = np.clip(slices(2), AIR, AIR + 0.8)
    np.testing.assert_allclose(changed(image, Augmentation(brightness=0.1)), image + 0.1, atol=1e-5)


def test_contrast_keeps_the_mean_and_stretches_around_it(monkeypatch):
    pin(monkeypatch, 1.0)
    image = np.clip(slices(2), AIR + 0.3, AIR + 0.7)
    result = changed(image, Augmentation(contrast=0.2))
    np.testing.assert_allclose(result.mean(axis=(1, 2, 3)), image.mean(axis=(1, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(
        result.std(axis=(1, 2, 3)), 1.2 * image.std(axis=(1, 2, 3)), rtol=1e-4
    )
