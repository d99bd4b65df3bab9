import time

import numpy as np
import pytest

from pipeline.inspection.confounds import find_confounds
from pipeline.inspection.sample import Sampler


def confounds_of(rows):
    sampler = Sampler()
    for number, row in enumerate(rows):
        sampler.add({"id": f"{number}", "format": "png", "width": 64, "height": 64} | row)
    return {one.feature: one for one in find_confounds(sampler.sample())}


def patients(count, slices=5, seed=0):
    """A random label a patient, and slices of each."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(count) % 2)
    for patient, label in enumerate(labels.tolist()):
        for _ in range(slices):
            yield patient, label, generator


def test_a_format_that_goes_with_the_label_is_found_and_said_plainly():
    found = confounds_of(
        {"label": label, "patient_id": f"{patient}", "format": "jpeg" if label else "png"}
        for patient, label, _ in patients(60)
    )
    one = found["format"]
    assert one.auc == pytest.approx(1.0)
    assert one.suspicious
    assert "100 % of the" in one.note
    assert "a model can learn the format instead of the lungs" in one.note


@pytest.mark.parametrize("seed", range(4))
def test_features_that_are_independent_of_the_label_are_not_suspected(seed):
    found = confounds_of(
        {
            "label": label,
            "patient_id": f"{patient}",
            "format": generator.choice(["png", "jpeg"]),
            "bytes": int(generator.integers(1000, 9000)),
            "width": int(generator.integers(200, 600)),
        }
        for patient, label, generator in patients(120, seed=seed)
    )
    assert {"format", "bytes", "width", "together"} <= set(found)
    for one in found.values():
        assert not one.suspicious, one
    assert found["format"].low < 0.5 < found["format"].high


@pytest.mark.parametrize("seed", range(4))
def test_what_tells_patients_apart_but_not_classes_does_not_predict_the_label(seed):
    """Within known patients the width would give the label away; held-out ones are asked for."""
    generator = np.random.default_rng(1000 + seed)
    widths = generator.permutation(np.arange(100, 180)).tolist()
    found = confounds_of(
        {"label": label, "patient_id": f"{patient}", "width": widths[patient]}
        for patient, label, _ in patients(80, slices=20, seed=seed)
    )
    assert not found["width"].suspicious
    assert 0.3 < found["width"].auc < 0.7


def test_a_range_of_numbers_that_goes_with_the_label_is_named():
    found = confounds_of(
        {
            "label": label,
            "patient_id": f"{patient}",
            "width": 512 if label else int(generator.choice([400, 600])),
        }
        for patient, label, generator in patients(60)
    )
    one = found["width"]
    assert one.suspicious
    assert "100 % of the positives but 0 % of the negatives have a width from 512 to 512 px" in (
        one.note
    )


def test_a_number_that_is_known_for_one_class_only_is_found():
    found = confounds_of(
        {"label": label, "patient_id": f"{patient}", "spacing": 0.7 if label else None}
        for patient, label, _ in patients(60)
    )
    assert found["spacing"].suspicious
    assert "100 % of the negatives but 0 % of the positives have no known pixel spacing" in (
        found["spacing"].note
    )


def test_a_source_of_one_patient_each_predicts_nothing():
    found = confounds_of(
        {"label": label, "patient_id": f"{patient}", "source": f"paper {patient}"}
        for patient, label, _ in patients(60)
    )
    assert found["source"].auc == 0.5
    assert not found["source"].suspicious


def test_a_source_that_gives_the_label_away_does_not_hide_what_the_rest_says():
    found = confounds_of(
        {
            "label": label,
            "patient_id": f"{patient}",
            "source": f"hospital {label}",
            "width": int(generator.integers(200, 600)),
            "height": int(generator.integers(200, 600)),
        }
        for patient, label, generator in patients(120)
    )
    assert found["together"].suspicious
    assert not found["together_without_source"].suspicious


def test_features_with_one_value_are_not_listed():
    found = confounds_of(
        {"label": label, "patient_id": f"{patient}"} for patient, label, _ in patients(40)
    )
    assert not found


@pytest.mark.parametrize("count", [1, 2, 18])
def test_with_too_few_patients_nothing_is_claimed(count):
    found = confounds_of(
        {"label": label, "patient_id": f"{patient}", "format": "jpeg" if label else "png"}
        for patient, label, _ in patients(count, slices=50)
    )
    assert all(one.auc is None and not one.suspicious for one in found.values())
    assert all(one.note == "too few patients to say" for one in found.values())


def test_slices_without_a_label_are_left_out():
    rows = [
        {"label": label, "patient_id": f"{patient}", "format": "jpeg" if label else "png"}
        for patient, label, _ in patients(60)
    ]
    unlabelled = [
        {"label": None, "patient_id": f"{number}", "format": "png", "width": number + 1}
        for number in range(200)
    ]
    found = confounds_of([*rows, *unlabelled])
    assert set(found) == {"format"}
    assert found["format"].auc == pytest.approx(1.0)


def test_a_sample_is_bounded_the_same_in_any_order_and_prefers_labelled_slices():
    rows = [
        {"id": f"{number}", "patient_id": f"{number}", "label": None if number % 2 else 1}
        for number in range(300)
    ]
    samples = []
    for order in (rows, rows[::-1]):
        sampler = Sampler(most=200)
        for row in order:
            sampler.add(row)
        samples.append(sampler.sample())
    assert len(samples[0]) == 200
    assert not samples[0].whole
    assert (samples[0].label == 1).sum() == 150
    assert samples[0].patient.tolist() == samples[1].patient.tolist()


def test_many_slices_take_seconds():
    generator = np.random.default_rng(0)
    sampler = Sampler()
    for number in range(6000):
        sampler.add(
            {
                "id": f"{number}",
                "label": int(generator.integers(2)),
                "patient_id": f"{number // 4}",
                "format": str(generator.choice(["png", "jpeg"])),
                "bytes": int(generator.integers(9000)),
                "width": int(generator.integers(200, 600)),
                "height": int(generator.integers(200, 600)),
            }
        )
    sample = sampler.sample()
    began = time.process_time()
    assert find_confounds(sample)
    assert time.process_time() - began < 30
