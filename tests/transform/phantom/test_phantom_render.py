"""What a user relies on in a rendered slice: true Hounsfield units, and opacities as masked."""

import dataclasses

import numpy as np
import pytest

from transform.errors import ConfigError
from transform.phantom import draw_patient, render_slice
from transform.phantom.opacity import SEVERITIES, draw_opacities

SIZE = 64
SLICES = 4
COHORT = [draw_patient(11, number, "severe") for number in range(6)]


def _noiseless(patient):
    return dataclasses.replace(patient, scanner=dataclasses.replace(patient.scanner, noise_hu=0.0))


def _healthy(patient):
    return dataclasses.replace(patient, opacities=())


def _slices(patient, size=SIZE):
    return [render_slice(patient, index, SLICES, size) for index in range(SLICES)]


def test_a_slice_is_int16_hounsfield_with_masks_of_its_size():
    rendered = render_slice(COHORT[0], 1, SLICES, 80)
    assert rendered.hu.dtype == np.int16
    assert rendered.hu.shape == rendered.opacities.shape == rendered.lungs.shape == (80, 80)
    assert rendered.opacities.dtype == rendered.lungs.dtype == bool
    assert rendered.hu.min() >= -1024
    assert rendered.hu.max() <= 3071


def test_the_default_is_512_by_512():
    assert render_slice(COHORT[0], 0, 1).hu.shape == (512, 512)


@pytest.mark.parametrize("patient", COHORT, ids=lambda patient: patient.id)
def test_tissues_have_their_hounsfield_units_in_sensible_shares(patient):
    for rendered in _slices(_healthy(_noiseless(patient)), 128):
        hu, lungs = rendered.hu, rendered.lungs
        corners = np.concatenate([hu[:6, :6].ravel(), hu[:6, -6:].ravel()])
        assert np.all(np.abs(corners + 1000) <= 2), "air beside the patient"
        assert 0.05 < lungs.mean() < 0.32
        assert -910 < np.median(hu[lungs]) < -760
        outside = hu[~lungs]
        assert 0.04 < np.mean((outside > -130) & (outside < -80)) < 0.6, "fat"
        assert 0.05 < np.mean((outside > 20) & (outside < 70)) < 0.5, "muscle, heart and blood"
        assert 0.002 < np.mean(hu > 250) < 0.06, "bone"
        assert hu.max() < 1200


def test_the_trachea_is_air_in_the_middle_of_the_upper_chest():
    for patient in COHORT:
        rendered = render_slice(_healthy(_noiseless(patient)), 0, SLICES, 256)
        airway = (rendered.hu < -960) & ~rendered.lungs
        assert airway[80:176, 88:168].sum() > 20


def test_the_back_of_the_lung_is_denser_than_the_front():
    for patient in COHORT:
        rendered = render_slice(_healthy(_noiseless(patient)), 2, SLICES, 256)
        rows = np.nonzero(rendered.lungs)[0]
        front, back = np.quantile(rows, [0.25, 0.75]).astype(int)
        parenchyma = rendered.lungs & (rendered.hu < -700)
        assert np.median(rendered.hu[back:][parenchyma[back:]]) > np.median(
            rendered.hu[:front][parenchyma[:front]]
        )


@pytest.mark.parametrize("severity", sorted(SEVERITIES))
def test_every_slice_of_a_positive_patient_shows_opacities_and_none_of_a_negative_does(severity):
    for number in range(16):
        patient = draw_patient(2, number, severity)
        for rendered in _slices(patient):
            assert rendered.opacities.any() == patient.positive


def test_opacities_lie_inside_the_lungs():
    for patient in COHORT:
        for rendered in _slices(patient):
            assert not (rendered.opacities & ~rendered.lungs).any()


def test_opacities_lie_under_the_pleura_more_than_in_the_middle_of_the_lung():
    near, far = [], []
    for patient in COHORT:
        for rendered in _slices(patient, 128):
            deep = rendered.lungs.copy()
            for _ in range(6):
                deep[1:-1, 1:-1] &= deep[2:, 1:-1] & deep[:-2, 1:-1] & deep[1:-1, 2:]
                deep[1:-1, 1:-1] &= deep[1:-1, :-2]
            columns = np.abs(np.arange(128) - np.nonzero(rendered.lungs)[1].mean())
            lateral = np.broadcast_to(
                columns > np.median(columns[rendered.lungs.any(0)]), (128,) * 2
            )
            if patient.positive:
                near.append(rendered.opacities[rendered.lungs & ~deep & lateral].mean())
                far.append(rendered.opacities[rendered.lungs & ~lateral].mean())
    assert np.mean(near) > 1.5 * np.mean(far)


def test_opacities_are_ground_glass_or_consolidation():
    glass, core = [], []
    for patient in COHORT:
        if not patient.positive:
            continue
        for rendered in _slices(_noiseless(patient), 256):
            inside = rendered.hu[rendered.opacities]
            assert np.mean((inside > -760) & (inside < 80)) > 0.97
            glass.append(np.mean((inside > -700) & (inside < -300)))
            core.append(np.mean((inside > -50) & (inside < 50)))
    assert np.mean(glass) > 0.4
    assert np.mean(core) > 0.05


def test_a_slice_has_as_many_opacities_of_the_size_its_severity_says():
    for severity in SEVERITIES.values():
        least, most = severity.count
        counts = set()
        for seed in range(60):
            opacities = draw_opacities(np.random.default_rng(seed), severity)
            for level in np.linspace(0.1, 0.9, 7):
                seen = [each for each in opacities if each.seen_at(level)]
                counts.add(len(seen))
                for each in seen:
                    assert severity.radius[0] <= each.radius_at(level) <= severity.radius[1]
        assert counts == set(range(least, most + 1))


@pytest.mark.slow
def test_severe_disease_takes_more_lung_than_mild():
    share = {}
    for severity in SEVERITIES:
        masks = [
            rendered.opacities.sum() / rendered.lungs.sum()
            for number in range(16)
            for rendered in _slices(draw_patient(4, number, severity))
        ]
        share[severity] = np.mean(masks)
    assert share["mild"] < share["moderate"] < share["severe"]


def test_without_its_opacities_a_positive_patient_is_the_same_image_outside_the_lungs_edge():
    for patient in COHORT:
        if not patient.positive:
            continue
        for sick, healthy in zip(_slices(patient), _slices(_healthy(patient)), strict=True):
            changed = sick.hu != healthy.hu
            assert changed[sick.opacities].mean() > 0.9
            reach = sick.lungs.copy()
            for axis in (0, 1):
                # Two pixels: the lung's partial volume, then the reconstruction kernel.
                for _ in range(2):
                    reach |= np.roll(reach, 1, axis) | np.roll(reach, -1, axis)
            assert not (changed & ~reach).any()


def test_severity_changes_opacities_and_nothing_else():
    mild, severe = draw_patient(6, 1, "mild"), draw_patient(6, 1, "severe")
    assert mild.positive == severe.positive
    for one, other in zip(_slices(_healthy(mild)), _slices(_healthy(severe)), strict=True):
        np.testing.assert_array_equal(one.hu, other.hu)


def test_the_same_arguments_give_the_same_pixels_and_another_seed_others():
    one = render_slice(draw_patient(3, 0, "severe"), 1, SLICES, SIZE)
    same = render_slice(draw_patient(3, 0, "severe"), 1, SLICES, SIZE)
    other = render_slice(draw_patient(4, 0, "severe"), 1, SLICES, SIZE)
    np.testing.assert_array_equal(one.hu, same.hu)
    np.testing.assert_array_equal(one.opacities, same.opacities)
    assert np.mean(one.hu != other.hu) > 0.5


def test_noise_has_the_scanners_deviation_and_neighbours_correlate():
    for patient in COHORT[:4]:
        noisy = render_slice(patient, 0, SLICES, 256).hu.astype(float)
        noise = noisy - render_slice(_noiseless(patient), 0, SLICES, 256).hu
        # Below -1024 HU nothing can be stored, so the noise of air is cut: look at tissue.
        body = noisy[110:150, 110:150] > -500
        patch = noise[110:150, 110:150]
        assert np.std(patch[body]) == pytest.approx(patient.scanner.noise_hu, rel=0.15)
        pairs = body[:, 1:] & body[:, :-1]
        assert 0.3 < np.corrcoef(patch[:, 1:][pairs], patch[:, :-1][pairs])[0, 1] < 0.8


def test_noise_is_new_in_every_slice():
    patient = COHORT[0]
    clean = _noiseless(patient)
    first, second = (
        (render_slice(patient, i, 50, 128).hu - render_slice(clean, i, 50, 128).hu)[40:90, 40:90]
        for i in (20, 21)
    )
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1


def test_neighbouring_slices_are_alike_and_distant_ones_are_not():
    patient = _noiseless(COHORT[0])
    near, next_, far = (
        render_slice(patient, index, 100, SIZE).hu.astype(float) for index in (30, 31, 90)
    )
    assert np.abs(near - next_).mean() < 0.4 * np.abs(near - far).mean()


def test_patients_differ_in_size_shape_and_place():
    bodies = [draw_patient(0, number).anatomy for number in range(20)]
    for measure in ("cage_half_width", "fat", "heart_scale", "rotation", "field_of_view"):
        assert len({getattr(body, measure) for body in bodies}) == 20
    assert len({body.shift for body in bodies}) == 20


def test_the_anatomy_grows_with_the_image():
    patient = _healthy(_noiseless(COHORT[0]))
    small = render_slice(patient, 1, SLICES, 64)
    large = render_slice(patient, 1, SLICES, 256)
    assert large.lungs.mean() == pytest.approx(small.lungs.mean(), rel=0.08)
    shrunk = large.hu.astype(float).reshape(64, 4, 64, 4).mean(axis=(1, 3))
    assert np.corrcoef(shrunk.ravel(), small.hu.ravel())[0, 1] > 0.97


@pytest.mark.parametrize(("index", "size"), [(-1, 64), (4, 64), (0, 31)])
def test_a_slice_that_cannot_be_drawn_is_refused_in_one_line(index, size):
    with pytest.raises(ConfigError) as refused:
        render_slice(COHORT[0], index, SLICES, size)
    assert "\n" not in str(refused.value)


def test_an_unknown_severity_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'awful'.*mild, moderate, severe"):
        draw_patient(0, 0, "awful")
    with pytest.raises(ConfigError, match="seed is -1"):
        draw_patient(-1, 0)
