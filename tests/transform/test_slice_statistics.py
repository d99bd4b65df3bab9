"""The numbers about a slice's pixels: exact where they can be, and moved by what moves images."""

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut

from transform import slice_statistics as stats
from transform.ct_example import StoredSlice
from transform.phantom import draw_patient, render_slice
from transform.slice_statistics import slice_statistics

PATIENT = draw_patient(seed=5, number=0)


def stored_slice(hu, *, slope=1.0, spacing=None):
    stored = np.rint((hu.astype(np.float64) + 1024) / slope).astype(np.uint16)
    return StoredSlice(stored, slope, -1024.0, calibrated=True, spacing=spacing)


def scanned(*, size=256, **scanner):
    patient = dataclasses.replace(PATIENT, scanner=dataclasses.replace(PATIENT.scanner, **scanner))
    return render_slice(patient, index=2, slices=5, size=size).hu


def measured(hu):
    return slice_statistics(stored_slice(hu))


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    slope=st.floats(-20, 20).filter(lambda slope: abs(slope) > 1e-3),
    intercept=st.floats(-5000, 5000),
    highest=st.sampled_from([0, 255, 4095, 65535]),
    seed=st.integers(0, 2**32 - 1),
)
def test_moments_and_ends_are_those_of_pydicoms_hounsfield_units(
    height, width, slope, intercept, highest, seed
):
    draw = np.random.default_rng(seed)
    stored = draw.integers(0, highest, (height, width), np.uint16, endpoint=True)
    header = Dataset()
    header.RescaleSlope, header.RescaleIntercept = slope, intercept
    # As strings pydicom would cut them to DICOM's 16 characters.
    slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
    hu = apply_modality_lut(stored, header).astype(np.float64)
    found = slice_statistics(StoredSlice(stored, slope, intercept, calibrated=True))
    assert found[stats.MIN_HU] == hu.min()
    assert found[stats.MAX_HU] == hu.max()
    assert found[stats.MEAN_HU] == pytest.approx(hu.mean(), rel=1e-9, abs=1e-6)
    assert found[stats.STD_HU] == pytest.approx(hu.std(), rel=1e-9, abs=1e-6)
    assert found[stats.LUNG_FRACTION] == np.mean((hu >= -950) & (hu <= -500))
    assert (found[stats.HEIGHT], found[stats.WIDTH]) == (height, width)
    assert np.isfinite(list(found.values())).all()
    assert min(found[stats.SHARPNESS], found[stats.NOISE]) >= 0


def test_a_negative_slope_changes_no_number():
    upright = stored_slice(scanned(size=64))
    stored = np.uint16(5000) - upright.stored
    inverted = StoredSlice(stored, -1.0, 5000.0 - 1024.0, calibrated=True)
    assert slice_statistics(inverted) == pytest.approx(slice_statistics(upright))


def test_an_unknown_spacing_is_absent():
    hu = scanned(size=64)
    assert slice_statistics(stored_slice(hu, spacing=0.75))[stats.SPACING] == 0.75
    assert set(slice_statistics(stored_slice(hu))) == set(stats.STATS) - {stats.SPACING}


@pytest.mark.parametrize("sigma", [3.0, 12.0, 50.0])
def test_noise_is_its_standard_deviation_whatever_the_slice_shows(sigma):
    noise = np.random.default_rng(1).normal(0, sigma, (256, 256))
    found = {
        name: measured(scene + noise)[stats.NOISE]
        for name, scene in {
            "flat": np.zeros((256, 256)),
            "ramp": np.arange(256)[:, None] * 5.0 + np.arange(256) * 3.0,
            "boxes": np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((32, 32))) * 900 - 850,
        }.items()
    }
    assert found == pytest.approx(dict.fromkeys(found, sigma), rel=0.12)


def test_noise_of_a_picture_of_few_grey_levels_does_not_jump_between_them():
    draw = np.random.default_rng(2)
    found = []
    for sigma in (8.0, 9.0, 10.0, 11.0):
        hu = draw.normal(0, sigma, (256, 256))
        found.append(slice_statistics(stored_slice(hu, slope=1400 / 255))[stats.NOISE])
    assert np.all(np.diff(found) > 0.3)


def test_noise_tells_noise_and_sharpness_tells_the_kernel():
    base = measured(scanned())
    noisier = measured(scanned(noise_hu=2 * PATIENT.scanner.noise_hu))
    softer = measured(scanned(kernel_side=PATIENT.scanner.kernel_side + 0.08))
    assert noisier[stats.NOISE] > 1.6 * base[stats.NOISE]
    assert noisier[stats.SHARPNESS] == pytest.approx(base[stats.SHARPNESS], rel=0.05)
    assert softer[stats.SHARPNESS] < 0.95 * base[stats.SHARPNESS]


def test_half_the_resolution_is_steeper_from_pixel_to_pixel():
    hu = scanned()
    halved = hu.reshape(128, 2, 128, 2).mean((1, 3))
    assert measured(halved)[stats.SHARPNESS] > 1.2 * measured(hu)[stats.SHARPNESS]


def test_padding_around_the_slice_moves_neither_noise_nor_sharpness():
    hu = scanned()
    padded = hu.copy()
    padded[np.hypot(*np.meshgrid(*[np.arange(256) - 127.5] * 2)) > 127] = -1024
    assert (padded != hu).any()
    for name in (stats.NOISE, stats.SHARPNESS):
        assert measured(padded)[name] == measured(hu)[name]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (3, 4), (16, 16)])
def test_tiny_slices_have_numbers_too(shape):
    found = slice_statistics(StoredSlice(np.full(shape, 7, np.uint16), 2.0, -4.0, calibrated=True))
    assert found[stats.MEAN_HU] == found[stats.MIN_HU] == found[stats.MAX_HU] == 10.0
    assert found[stats.STD_HU] == found[stats.SHARPNESS] == found[stats.NOISE] == 0.0


def test_the_numbers_cost_little_beside_decoding_a_slice():
    one = stored_slice(scanned(size=512))
    slice_statistics(one)
    times = []
    for _ in range(30):
        began = time.process_time()
        slice_statistics(one)
        times.append(time.process_time() - began)
    # 0.6 ms where this was written; the bound leaves room for slower and busier machines.
    assert min(times) < 0.004
