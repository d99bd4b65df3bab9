import numpy as np
import pytest
import scipy.ndimage

from components.shortcut_probes.lung_mask import convex_hull, distance_within, lung_mask
from transform.phantom import draw_patient, render_slice

AIR_HU, TISSUE_HU = -1000.0, 40.0


def phantom(number, index, size=192, severity="severe"):
    rendered = render_slice(draw_patient(3, number, severity), index, 8, size)
    return rendered.hu.astype(np.float32), rendered


def as_picture(hu, window):
    """As the hospital's viewer would show it, and as ctnet reads that under its own window."""
    low, high = window
    grey = np.rint(np.clip((hu - low) / (high - low), 0.0, 1.0) * 255.0)
    return (grey / 255.0 * 1400.0 - 1000.0).astype(np.float32)


@pytest.mark.parametrize("index", [1, 4, 7])
@pytest.mark.parametrize("number", range(6))
def test_lungs_and_their_opacities_are_in_the_mask(number, index):
    hu, rendered = phantom(number, index)
    mask = lung_mask(hu)
    assert (mask & rendered.lungs).sum() > 0.95 * rendered.lungs.sum()
    assert (mask & rendered.opacities).sum() >= 0.88 * rendered.opacities.sum()
    # What is beyond is a rim, the hilum, and the edges of heart and liver, not the chest.
    assert mask.sum() < 2.0 * rendered.lungs.sum()


@pytest.mark.parametrize("window", [(-1000, 400), (-1350, 150), (-1500, 100), (-160, 240)])
def test_the_mask_does_not_depend_on_the_window_of_a_picture(window):
    hu, rendered = phantom(1, 4)
    mask = lung_mask(as_picture(hu, window))
    assert (mask & rendered.lungs).sum() > 0.95 * rendered.lungs.sum()
    assert mask.sum() < 1.7 * rendered.lungs.sum()


@pytest.mark.parametrize("size", [64, 128, 512])
def test_the_mask_grows_with_the_picture(size):
    hu, rendered = phantom(1, 4, size)
    mask = lung_mask(hu)
    assert mask.shape == hu.shape
    assert (mask & rendered.lungs).sum() > 0.95 * rendered.lungs.sum()
    assert mask.sum() < 1.7 * rendered.lungs.sum()


def test_lungs_that_a_crop_cut_off_are_found():
    hu, rendered = phantom(0, 4)
    rows, columns = (np.flatnonzero(rendered.lungs.any(axis=axis)) for axis in (1, 0))
    inset = 6
    crop = (
        slice(rows[0] - 4, rows[-1] + 5),
        slice(columns[0] + inset, columns[-1] - inset),
    )
    lungs = rendered.lungs[crop]
    assert lungs[:, 0].any()
    assert lungs[:, -1].any()
    mask = lung_mask(hu[crop])
    assert (mask & lungs).sum() > 0.97 * lungs.sum()


@pytest.mark.parametrize("shade", [400.0, AIR_HU])
def test_a_flat_border_around_the_picture_changes_nothing(shade):
    hu, _ = phantom(1, 4)
    # Only the picture, without a column of the air around it.
    picture = hu[30:-30]
    bordered = np.pad(picture, ((20, 12), (0, 30)), constant_values=shade)
    mask = lung_mask(bordered)
    apart = mask[20:-12, :-30] ^ lung_mask(picture)
    assert apart.mean() < 0.01
    assert not mask[:15].any()
    assert not mask[:, -25:].any()


def test_a_dense_opacity_at_the_pleura_is_in_the_mask():
    hu, rendered = phantom(0, 4, severity="mild")
    lungs = rendered.lungs
    rows, columns = np.nonzero(lungs)
    # Where the right lung reaches farthest to the side.
    row, column = int(rows[columns.argmin()]), int(columns.min())
    disk = np.hypot(*np.ogrid[-row : hu.shape[0] - row, -column : hu.shape[1] - column]) < 14
    white = disk & lungs
    assert white.sum() > 200
    mask = lung_mask(np.where(white, np.float32(TISSUE_HU), hu))
    assert (mask & white).sum() > 0.9 * white.sum()


def slab(shape=(120, 160)):
    hu = np.full(shape, AIR_HU, np.float32)
    hu[20:100, 20:140] = TISSUE_HU
    return hu + np.random.default_rng(0).normal(0.0, 12.0, shape).astype(np.float32)


def test_a_body_without_lungs_has_an_empty_mask():
    assert not lung_mask(slab()).any()


def test_a_windpipe_is_no_lung():
    hu = slab()
    hu[40:48, 76:84] = AIR_HU
    assert not lung_mask(hu).any()


@pytest.mark.parametrize("value", [AIR_HU, TISSUE_HU, 3000.0])
def test_a_picture_of_one_shade_has_an_empty_mask(value):
    assert not lung_mask(np.full((64, 48), value, np.float32)).any()


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (7, 7), (9, 8)])
def test_a_tiny_picture_has_a_mask(shape):
    noise = np.random.default_rng(1).uniform(-1000, 400, shape).astype(np.float32)
    assert lung_mask(noise).shape == shape


def test_the_convex_hull_holds_the_mask_and_has_no_notch():
    mask = np.zeros((40, 50), bool)
    mask[5:30, 10:14] = True
    mask[26:30, 10:40] = True
    hull = convex_hull(mask)
    assert hull[mask].all()
    # Just inside and just outside of the line from the one tip to the other.
    assert hull[15, 24]
    assert not hull[15, 30]
    assert not hull[31:].any()
    assert scipy.ndimage.label(hull)[1] == 1


def test_the_convex_hull_of_a_line_or_of_nothing_is_itself():
    mask = np.zeros((10, 10), bool)
    assert not convex_hull(mask).any()
    mask[3, 2:7] = True
    assert (convex_hull(mask) == mask).all()
    diagonal = np.eye(10, dtype=bool)
    assert (convex_hull(diagonal) == diagonal).all()


@pytest.mark.parametrize("radius", [0.5, 1.0, 3.072, 10.24])
@pytest.mark.parametrize("shape", [(1, 1), (4, 60), (60, 4), (64, 50)])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_what_is_near_a_mask_is_what_its_distances_say(shape, share, radius):
    mask = np.random.default_rng(2).random(shape) < share
    away = scipy.ndimage.distance_transform_edt(~mask) if mask.any() else np.full(shape, np.inf)
    assert (distance_within(mask, radius) == (away <= radius)).all()
