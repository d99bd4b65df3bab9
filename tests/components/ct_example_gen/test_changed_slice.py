"""A copy of a slice shows the same anatomy, moved, with air around it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ct_example_gen.changed_slice import SliceChanges, change_slice
from transform.ct_example import StoredSlice

PAPER = SliceChanges(rotation=15.0, shift=0.1, flip=True, pad=0.1)


class Draws:
    """A generator whose draws are known, in the order in which they are used."""

    def __init__(self, **draws):
        names = ("turned", "scaled", "down", "across", "mirrored", "brighter", "steeper")
        middle = {"mirrored": 1.0, "scaled": 1.0}
        self._draws = [draws.get(name, middle.get(name, 0.5)) for name in names]

    def random(self, count):
        assert count == len(self._draws)
        return np.array(self._draws)


def a_slice(stored, slope=1.0, intercept=-1024.0, spacing=None):
    return StoredSlice(np.asarray(stored, np.uint16), slope, intercept, True, spacing)


def noise(height, width, seed=0, high=3000):
    return np.random.default_rng(seed).integers(500, high, (height, width))


@given(
    stored=st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda size: noise(*size)),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=50)
def test_without_any_change_a_copy_is_the_slice(stored, seed):
    changed = change_slice(a_slice(stored), SliceChanges(), np.random.default_rng(seed))
    np.testing.assert_array_equal(changed.stored, stored)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    slope=st.sampled_from([1.0, 0.5, 1400.0 / 255.0, -1.0]),
    intercept=st.sampled_from([-1024.0, -1000.0, 0.0, -600.0, 2000.0]),
    changes=st.builds(
        SliceChanges,
        rotation=st.floats(0, 180),
        shift=st.floats(0, 0.99),
        flip=st.booleans(),
        pad=st.floats(0, 1),
        zoom=st.floats(0, 0.99),
        brightness=st.floats(0, 0.99),
        contrast=st.floats(0, 0.99),
    ),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=60)
def test_whatever_is_asked_for_a_copy_can_be_stored_and_keeps_size_and_units(
    size, slope, intercept, changes, seed
):
    before = a_slice(noise(*size, high=4000), slope, intercept)
    after = change_slice(before, changes, np.random.default_rng(seed))
    assert after.stored.dtype == np.uint16
    assert after.stored.shape == size
    assert (after.slope, after.intercept, after.calibrated) == (slope, intercept, True)


def test_a_mirrored_copy_is_the_slice_seen_from_the_other_side():
    stored = noise(5, 8)
    changed = change_slice(a_slice(stored), SliceChanges(flip=True), Draws(mirrored=0.0))
    np.testing.assert_array_equal(changed.stored, stored[:, ::-1])


def test_a_quarter_turn_moves_each_pixel_where_it_belongs():
    stored = noise(6, 6)
    changed = change_slice(a_slice(stored), SliceChanges(rotation=90.0), Draws(turned=1.0))
    np.testing.assert_array_equal(changed.stored, np.rot90(stored, -1))


def test_a_shift_leaves_air_behind():
    stored = noise(10, 20)
    changed = change_slice(a_slice(stored), SliceChanges(shift=0.2), Draws(down=1.0, across=0.0))
    # 2 rows up and 4 columns to the right; -1000 HU is stored as 24.
    np.testing.assert_array_equal(changed.stored[:-2, 4:], stored[2:, :-4])
    assert (changed.stored[-2:] == 24).all()
    assert (changed.stored[:, :4] == 24).all()
    assert changed.hounsfield()[-1, 0] == -1000.0


def test_padding_shrinks_the_slice_and_its_pixels_then_cover_more():
    changed = change_slice(
        a_slice(np.full((40, 40), 1064), spacing=0.7), SliceChanges(pad=1.0), Draws(scaled=1.0)
    )
    assert np.count_nonzero(changed.stored == 1064) == pytest.approx(400, abs=45)
    assert (changed.stored[0] == 24).all()
    assert changed.stored[20, 20] == 1064
    assert changed.spacing == pytest.approx(1.4)


def test_zooming_in_shows_the_middle():
    stored = np.pad(np.full((10, 10), 2000), 10, constant_values=500)
    changed = change_slice(a_slice(stored), SliceChanges(zoom=0.6), Draws(scaled=0.0))
    assert np.count_nonzero(changed.stored == 2000) > 4 * 100


@pytest.mark.parametrize(
    ("slope", "intercept", "air"),
    [(1400.0 / 255.0, -1000.0, 0), (1.0, -3000.0, 2000), (-1.0, 1000.0, 2000), (1.0, -600.0, 0)],
    ids=["picture", "signed", "falling", "no air in range"],
)
def test_air_is_air_in_every_unit_or_the_nearest_that_can_be_stored(slope, intercept, air):
    before = a_slice(np.full((10, 10), 100), slope, intercept)
    changed = change_slice(before, SliceChanges(shift=0.5), Draws(down=0.0))
    assert (changed.stored[:5] == air).all()
    assert (changed.stored[5:] == 100).all()


def test_brightness_and_contrast_are_in_the_scaled_units_of_the_model():
    stored = np.array([[124, 1124]])  # -900 and 100 HU; their mean is -400
    brighter = change_slice(a_slice(stored), SliceChanges(brightness=0.1), Draws(brighter=1.0))
    np.testing.assert_allclose(brighter.hounsfield(), [[-760, 240]], atol=1)
    flatter = change_slice(a_slice(stored), SliceChanges(contrast=0.5), Draws(steeper=0.0))
    np.testing.assert_allclose(flatter.hounsfield(), [[-650, -150]], atol=1)


def test_values_that_the_model_cannot_tell_apart_do_not_pull_the_contrast():
    bone = change_slice(a_slice([[124, 4024]]), SliceChanges(contrast=0.5), Draws(steeper=0.0))
    np.testing.assert_allclose(bone.hounsfield(), [[-575, 75]], atol=1)


def test_the_changes_of_the_paper_differ_from_draw_to_draw():
    before = a_slice(noise(32, 32))
    changed = {
        change_slice(before, PAPER, np.random.default_rng(seed)).stored.tobytes()
        for seed in range(20)
    }
    assert len(changed) == 20
