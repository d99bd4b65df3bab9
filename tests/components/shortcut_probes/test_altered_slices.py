import numpy as np
import pytest
import tensorflow as tf

from components.shortcut_probes.altered_slices import (
    border,
    border_only,
    lungs_blanked,
    with_pixels,
)
from components.shortcut_probes.asking import altered_versions
from components.shortcut_probes.lung_mask import lung_mask
from components.shortcut_probes.outcome import BORDER_ONLY, LUNGS_BLANKED, PLAIN
from transform import ct_example
from transform.ct_example import SliceFacts, StoredSlice, make_example, stored_slice_of
from transform.phantom import draw_patient, render_slice

# Air in the lung, but not fat (-100 HU).
LUNG_LIKE_HU = -300.0


def phantom(number=0, index=4, size=160):
    rendered = render_slice(draw_patient(3, number, "severe"), index, 8, size)
    return rendered.hu.astype(np.float32), rendered.lungs


def blanked(hu):
    return lungs_blanked(hu, lung_mask(hu))


@pytest.mark.parametrize("index", [0, 4, 7])
@pytest.mark.parametrize("number", range(4))
def test_no_lung_is_left_where_lungs_were(number, index):
    hu, lungs = phantom(number, index)
    left = blanked(hu)
    assert (hu[lungs] < LUNG_LIKE_HU).mean() > 0.5
    assert (left[lungs] < LUNG_LIKE_HU).mean() < 0.005


def test_nothing_inside_the_lungs_changes_what_is_left():
    hu, lungs = phantom()
    mask = lung_mask(hu)
    consolidated = np.where(lungs, np.float32(30.0), hu)
    assert (lungs_blanked(hu, mask | lungs) == lungs_blanked(consolidated, mask | lungs)).all()


def test_the_outline_of_a_lung_is_not_left():
    hu, _ = phantom()
    mask = lung_mask(hu)
    left = lungs_blanked(hu, mask)
    middle = round(np.nonzero(mask)[1].mean())
    rows = np.flatnonzero(mask[:, middle - 30])
    row = round(rows.mean())
    columns = np.flatnonzero(mask[row])
    # From lung to lung, across the mediastinum: one shade.
    assert not mask[row, columns[0] : columns[-1]].all()
    assert np.ptp(left[row, columns[0] : columns[-1]]) == 0.0


def test_a_half_that_the_mask_missed_on_one_side_is_blanked_too():
    hu, _ = phantom()
    mask = lung_mask(hu)
    rows, columns = np.nonzero(mask)
    lower_right = np.zeros_like(mask)
    lower_right[round(rows.mean()) :, : round(columns.mean())] = True
    missed = mask & lower_right
    partly = mask & ~lower_right
    # The extent to the side stays known.
    partly[round(rows.mean()), columns.min()] = True
    left = lungs_blanked(hu, partly)
    assert (hu[missed] < LUNG_LIKE_HU).mean() > 0.2
    assert (left[missed] < LUNG_LIKE_HU).mean() < 0.02


def test_the_filling_is_a_shade_of_the_tissue_around_it_and_has_no_edge():
    hu, _ = phantom()
    mask = lung_mask(hu)
    left = lungs_blanked(hu, mask)
    shade = left[mask][0]
    assert -150.0 < shade < 150.0
    # No neighbours differ more than in the slice itself outside of the lungs.
    step = np.abs(np.diff(left, axis=1))
    assert step.max() <= np.abs(np.diff(hu, axis=1)).max()


def test_far_from_the_lungs_nothing_changes():
    hu, _ = phantom()
    left = blanked(hu)
    assert (left[:8] == hu[:8]).all()
    assert (left[:, :8] == hu[:, :8]).all()


def test_lungs_that_fill_the_picture_leave_a_plain_one():
    hu, _ = phantom()
    left = lungs_blanked(hu, np.ones(hu.shape, bool))
    assert np.ptp(left) == 0.0
    assert left[0, 0] == 40.0


def test_no_lung_cannot_be_blanked():
    with pytest.raises(ValueError, match="no lung to blank"):
        lungs_blanked(np.zeros((8, 8), np.float32), np.zeros((8, 8), bool))


@pytest.mark.parametrize("shape", [(50, 80), (1, 1), (3, 2), (11, 200)])
def test_border_only_keeps_exactly_the_frame(shape):
    hu = np.random.default_rng(0).uniform(-1000.0, 400.0, shape).astype(np.float32)
    left = border_only(hu)
    height, width = (max(1, round(0.1 * side)) for side in shape)
    frame = np.ones(shape, bool)
    frame[height : shape[0] - height, width : shape[1] - width] = False
    assert (border(shape) == frame).all()
    assert (left[frame] == hu[frame]).all()
    assert (left[~frame] == np.median(hu[frame])).all()


def test_nothing_inside_the_frame_changes_what_is_left_of_a_border():
    hu, _ = phantom()
    other = hu.copy()
    other[20:-20, 20:-20] += 100.0
    assert (border_only(hu) == border_only(other)).all()


STORED_FORMS = [
    pytest.param(1.0, -1024.0, id="scanner"),
    pytest.param(1400.0 / 255.0, -1000.0, id="picture"),
    pytest.param(0.02, -1024.0, id="fine steps"),
    pytest.param(-1.0, 1000.0, id="inverted"),
]


def example_of(slope, intercept, hu):
    stored = np.clip(np.rint((hu - intercept) / slope), 0, 65535).astype(np.uint16)
    original = StoredSlice(stored, slope, intercept, calibrated=True, spacing=0.7)
    facts = SliceFacts("slice", "patient", "phantom", label=1, age=50.0, sex="F")
    return make_example(original, facts), original


@pytest.mark.parametrize(("slope", "intercept"), STORED_FORMS)
def test_what_does_not_change_is_stored_to_the_bit(slope, intercept):
    example, original = example_of(slope, intercept, phantom()[0])
    read = stored_slice_of(example)
    assert (read.stored == original.stored).all()
    assert (read.slope, read.calibrated) == (pytest.approx(slope), True)
    again = tf.train.Example.FromString(with_pixels(example, read, read.hounsfield()))
    assert (stored_slice_of(again).stored == original.stored).all()


@pytest.mark.parametrize(("slope", "intercept"), STORED_FORMS)
def test_altered_hounsfield_units_come_back_within_half_a_step(slope, intercept):
    example, _ = example_of(slope, intercept, phantom()[0])
    original = stored_slice_of(example)
    hu = original.hounsfield()
    hu[40:60, 40:60] = 33.3
    altered = with_pixels(example, original, hu)
    read = stored_slice_of(tf.train.Example.FromString(altered)).hounsfield()
    assert np.abs(read - hu).max() <= abs(slope) / 2 + 1e-3


def test_what_cannot_be_stored_becomes_the_nearest_that_can():
    example, _ = example_of(1.0, -1024.0, phantom()[0])
    original = stored_slice_of(example)
    hu = original.hounsfield()
    hu[0, 0], hu[0, 1] = -5000.0, 1e6
    altered = stored_slice_of(tf.train.Example.FromString(with_pixels(example, original, hu)))
    assert altered.stored[0, :2].tolist() == [0, 65535]


def test_the_probes_versions_differ_in_nothing_but_the_picture():
    example, _ = example_of(1.0, -1024.0, phantom()[0])
    versions, lungs_in_border = altered_versions(example.SerializeToString())
    assert set(versions) == {PLAIN, LUNGS_BLANKED, BORDER_ONLY}
    assert 0.0 <= lungs_in_border < 0.2
    features = {
        name: dict(tf.train.Example.FromString(version).features.feature)
        for name, version in versions.items()
    }
    pictures = {name: one.pop(ct_example.IMAGE) for name, one in features.items()}
    assert features[PLAIN] == features[LUNGS_BLANKED] == features[BORDER_ONLY]
    assert len({one.SerializeToString() for one in pictures.values()}) == 3


def test_a_slice_without_lungs_is_not_blanked():
    example, _ = example_of(1.0, -1024.0, np.full((40, 40), 40.0, np.float32))
    versions, lungs_in_border = altered_versions(example.SerializeToString())
    assert set(versions) == {PLAIN, BORDER_ONLY}
    assert lungs_in_border is None
