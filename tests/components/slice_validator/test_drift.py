"""SliceValidator tells where images changed, and leaves alone what chance explains."""

import json

import pytest

from transform import ct_example

TRAIN, EVAL, TEST = range(30), range(30, 55), range(55, 80)


def features_of(differences):
    return {one.feature for one in differences}


@pytest.fixture
def alike(phantoms):
    """Splits of nearly a hundred slices of one cohort."""
    return {"train": phantoms(TRAIN), "eval": phantoms(EVAL), "test": phantoms(TEST)}


def test_splits_of_one_cohort_raise_no_alarm(validate, alike):
    found = validate(alike)
    assert found.drift.lines == []
    assert not found.drift.has_last_run
    assert not any(one.anomaly_info for one in found.anomalies.values())


@pytest.mark.parametrize(
    ("change", "seen_in"),
    [
        ({"noise": 30.0}, {ct_example.NOISE}),
        ({"softer": 2}, {ct_example.SHARPNESS}),
        ({"offset": 50.0}, {ct_example.MIN_HU, ct_example.LUNG_FRACTION}),
        ({"halved": True}, {ct_example.HEIGHT, ct_example.WIDTH, ct_example.SPACING}),
        ({"source": "elsewhere"}, {ct_example.SOURCE}),
        ({"spacing": False}, {ct_example.SPACING}),
    ],
)
def test_a_split_of_other_images_is_told_and_stops_nothing(
    validate, phantoms, alike, change, seen_in
):
    drift = validate({**alike, "test": phantoms(TEST, **change)}).drift
    assert seen_in <= features_of(drift.between_splits)
    assert {one.splits for one in drift.between_splits} == {("train", "test")}
    for one in drift.between_splits:
        assert 0 <= one.threshold < one.distance <= 1
        assert one.feature in one.line
        assert "test split" in one.line


def test_a_noisier_run_than_the_last_is_told(validate, phantoms, alike):
    noisier = {
        "train": phantoms(TRAIN, noise=30.0),
        "eval": phantoms(EVAL, noise=30.0),
        "test": phantoms(TEST, noise=30.0),
    }
    drift = validate(noisier, last_run=alike).drift
    assert drift.has_last_run
    assert drift.between_splits == ()
    assert {one.splits for one in drift.since_last_run if one.feature == ct_example.NOISE} == {
        ("train", "train"),
        ("eval", "eval"),
        ("test", "test"),
    }


def test_a_run_like_the_last_raises_no_alarm(validate, phantoms, alike):
    others = {"train": phantoms(EVAL), "eval": phantoms(TEST), "test": phantoms(TRAIN)}
    drift = validate(others, last_run=alike).drift
    assert drift.has_last_run
    assert drift.lines == []


def test_one_slice_with_metal_or_another_padding_is_no_drift(validate, phantoms, alike):
    odd = phantoms(TEST)
    odd[0].features.feature[ct_example.MAX_HU].float_list.value[:] = [30000.0]
    odd[1].features.feature[ct_example.MIN_HU].float_list.value[:] = [-3024.0]
    assert validate({**alike, "test": odd}).drift.lines == []


def test_a_few_patients_are_no_reason_for_an_alarm(validate, phantoms, alike):
    assert validate({**alike, "test": phantoms(range(60, 64))}).drift.lines == []


def test_a_last_run_that_knew_fewer_numbers_is_compared_in_the_others(validate, phantoms, alike):
    older = {split: phantoms(TRAIN) for split in alike}
    for examples in older.values():
        for one in examples:
            del one.features.feature[ct_example.NOISE]
    (first, *others) = validate(alike, last_run=older).drift.since_last_run
    assert {first.feature, *features_of(others)} == {ct_example.NOISE}
    assert first.line.endswith("unknown in that of the last accepted run")


def test_the_file_holds_both_lists_and_the_artifact_says_what_passed(validate, alike, tmp_path):
    found = validate(alike)
    content = json.loads((tmp_path / "anomalies" / "drift.json").read_text())
    assert content["between_splits"] == content["since_last_run"] == []
    assert found.artifact.get_int_custom_property("statistics_id") == 7
