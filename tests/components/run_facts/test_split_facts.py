import pytest

from components.run_facts.split_facts import AgeRange, read_split_facts


def test_who_is_in_a_split_is_counted_by_slices_and_patients(statistics, slices):
    known = slices(range(4), age=40.0, sex="F", source="ward") + slices(
        [4, 5], age=70.0, sex="M", source="clinic"
    )
    found = read_split_facts(
        statistics({"train": known + slices([6], calibrated=False), "test": slices([7, 8])})
    )
    train = found["train"]
    assert (train.slices, train.patients) == (7, 4)
    assert (train.calibrated, train.assumed) == (6, 1)
    assert train.sexes == {"F": 4, "M": 2}
    assert train.sources == {"ward": 4, "clinic": 2}
    assert train.source_count == 2
    assert train.ages == AgeRange(6, 40.0, pytest.approx(40.0), 70.0)


def test_what_no_slice_says_is_unknown_and_not_zero_years(statistics, slices):
    (test,) = read_split_facts(statistics({"test": slices([0, 1, 2])})).values()
    assert (test.slices, test.patients, test.assumed) == (3, 2, 0)
    assert test.ages is None
    assert test.sexes == test.sources == {}
    assert test.source_count == 0


def test_slices_without_hounsfield_units_are_not_taken_for_calibrated(statistics, slices):
    (test,) = read_split_facts(statistics({"test": slices([0, 1, 2], calibrated=False)})).values()
    assert (test.calibrated, test.assumed) == (0, 3)
