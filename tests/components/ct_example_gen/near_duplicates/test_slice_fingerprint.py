"""What is kept of a slice to find its near-duplicates."""

import numpy as np
import pytest

from components.ct_example_gen.near_duplicates import fingerprint
from components.ct_example_gen.near_duplicates.fingerprint import HASH_SIZE, hash_likeness
from components.ct_example_gen.near_duplicates.hash_keys import bucket_keys
from components.ct_example_gen.near_duplicates.misfit import SAME_PICTURE, misfit
from components.ct_example_gen.near_duplicates.thumbnail import SIDE, thumbnail
from transform.ct_example import StoredSlice


def test_a_fingerprint_is_small_and_the_same_each_time(chests, print_of_hu):
    one = print_of_hu(chests[0])
    assert len(one.hash) + len(one.thumbnail) == HASH_SIZE + SIDE * SIDE <= 1536
    assert one == print_of_hu(chests[0].copy())


@pytest.mark.parametrize("shape", [(512, 512), (501, 523), (61, 115), (20, 30), (1400, 1000)])
def test_a_thumbnail_keeps_the_mean_grey_of_a_flat_slice_of_any_size(shape):
    stored = np.full(shape, 724, np.uint16)  # -300 HU, the middle of the window
    small = thumbnail(StoredSlice(stored, 1.0, -1024.0, True))
    assert small.shape == (SIDE, SIDE)
    assert set(np.unique(small)) <= {127, 128}


def test_hu_outside_the_lung_window_do_not_count(chests, print_of_hu):
    inside = np.clip(chests[0], -1000, 400)
    assert print_of_hu(inside) == print_of_hu(chests[0])


def test_how_a_scanner_stores_its_values_does_not_count(chests):
    hu = np.clip(chests[0].astype(np.int32), -1000, 400)
    fine = StoredSlice(((hu + 1024) * 4).astype(np.uint16), 0.25, -1024.0, True)
    upside_down = StoredSlice((3000 - hu).astype(np.uint16), -1.0, 3000.0, True)
    plain = fingerprint(StoredSlice((hu + 1024).astype(np.uint16), 1.0, -1024.0, True))
    for other in (fingerprint(fine), fingerprint(upside_down)):
        small, reference = (
            np.frombuffer(one.thumbnail, np.uint8).astype(int) for one in (other, plain)
        )
        assert np.abs(small - reference).max() <= 1


def test_sixteen_bit_pictures_do_not_overflow():
    stored = np.full((512, 512), 65535, np.uint16)
    assert thumbnail(StoredSlice(stored, 1400.0 / 65535.0, -1000.0, False)).min() == 255


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_constant_slice_is_featureless(value, print_of_picture):
    assert print_of_picture(np.full((300, 300), value, np.uint8)).featureless


def test_faint_noise_alone_is_featureless(print_of_hu):
    noise = np.random.default_rng(3).normal(-950.0, 20.0, (512, 512))
    assert print_of_hu(noise.astype(np.int16)).featureless


def test_a_picture_changed_is_like_itself(chests, change, show, print_of_picture):
    for hu in chests:
        original, changed = (print_of_picture(one) for one in (show(hu), change(show(hu))))
        assert hash_likeness(original.hash, changed.hash) > 0.88
        assert misfit(original.thumbnail, changed.thumbnail) < SAME_PICTURE


def test_a_picture_changed_meets_itself_in_a_bucket(chests, change, show, print_of_picture):
    met = [
        not set(bucket_keys(print_of_picture(show(hu)).thumbnail)).isdisjoint(
            bucket_keys(print_of_picture(change(show(hu))).thumbnail)
        )
        for hu in chests
    ]
    assert sum(met) >= len(chests) - 1


@pytest.mark.parametrize(
    "window", [(-1000, 400), (-1350, 150), (-1350, 250), (-1200, 200), (-1150, 350), (-1400, 200)]
)
def test_a_slice_in_hu_is_like_its_picture_in_any_lung_window(
    chests, window, show, print_of_hu, print_of_picture
):
    for hu in chests:
        picture = print_of_picture(show(hu, *window))
        assert misfit(print_of_hu(hu).thumbnail, picture.thumbnail) < SAME_PICTURE


def test_different_slices_are_far_from_alike(chests, print_of_hu):
    prints = [print_of_hu(hu) for hu in chests]
    for number, one in enumerate(prints):
        for other in prints[:number]:
            assert misfit(one.thumbnail, other.thumbnail) > 1.25 * SAME_PICTURE


def test_the_misfit_does_not_depend_on_who_comes_first(chests, change, show, print_of_picture):
    grey = show(chests[1])
    one, other = print_of_picture(grey).thumbnail, print_of_picture(change(grey)).thumbnail
    assert misfit(one, other) == misfit(other, one)


def test_pictures_with_nothing_in_common_but_flatness_do_not_fit(print_of_picture):
    flat = print_of_picture(np.full((64, 64), 90, np.uint8)).thumbnail
    assert misfit(flat, flat) == float("inf")
