import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.slice_evaluator.groups import (
    GROUPINGS,
    SMALL_GROUP,
    age_band,
    groups_of,
    is_small,
    sex_of,
)
from transform.ct_example import AGE, CALIBRATED, SEX, SOURCE, SliceFacts, StoredSlice, make_example


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (0, "<40"),
        (39.99, "<40"),
        (40, "40-59"),
        (59.9, "40-59"),
        (60.0, "60-79"),
        (79.9, "60-79"),
        (80, ">=80"),
        (103, ">=80"),
        (None, "unknown"),
        (float("nan"), "unknown"),
        (float("inf"), "unknown"),
        (-1, "unknown"),
    ],
)
def test_ages_fall_into_bands(age, band):
    assert age_band(age) == band


@pytest.mark.parametrize(
    ("sex", "group"),
    [
        ("M", "M"),
        ("f", "F"),
        (" Female ", "F"),
        ("male", "M"),
        ("O", "other"),
        ("Other", "other"),
        ("", "unknown"),
        (None, "unknown"),
        ("nan", "unknown"),
        ("1", "unknown"),
    ],
)
def test_sex_is_one_of_four(sex, group):
    assert sex_of(sex) == group


@settings(deadline=None)
@given(st.one_of(st.none(), st.floats()), st.one_of(st.none(), st.text()))
def test_every_slice_has_a_group_by_everything(age, sex):
    found = groups_of({AGE: age, SEX: sex})
    assert tuple(found) == GROUPINGS
    assert found["age"] in {"<40", "40-59", "60-79", ">=80", "unknown"}
    assert found["sex"] in {"M", "F", "other", "unknown"}


KNOWN = {"sex": "F", "age": "60-79", "source": "hospitál", "hounsfield": "calibrated"}


@pytest.mark.parametrize(
    "features",
    [
        {SEX: "F", AGE: 66, SOURCE: "hospitál", CALIBRATED: 1},
        {SEX: b"F", AGE: 66.0, SOURCE: "hospitál".encode(), CALIBRATED: True},
        {SEX: [b"F"], AGE: [66.0], SOURCE: ["hospitál"], CALIBRATED: [1]},
        {
            SEX: np.array([b"F"], object),
            AGE: np.array([66.0], np.float32),
            SOURCE: np.array(["hospitál".encode()], object),
            CALIBRATED: np.array([[1]]),
        },
        {SEX: np.bytes_(b"F"), AGE: np.float32(66), SOURCE: "hospitál", CALIBRATED: np.int64(1)},
    ],
)
def test_features_are_taken_as_they_come(features):
    assert groups_of(features) == KNOWN


@pytest.mark.parametrize(
    "features",
    [
        {},
        dict.fromkeys((SEX, AGE, SOURCE, CALIBRATED)),
        {SEX: b"", AGE: float("nan"), SOURCE: b"", CALIBRATED: []},
        {name: np.array([], object) for name in (SEX, AGE, SOURCE, CALIBRATED)},
    ],
)
def test_what_is_absent_is_unknown(features):
    assert set(groups_of(features).values()) == {"unknown"}


def test_an_example_of_an_assumed_window_is_told_from_one_of_a_scanner():
    facts = SliceFacts("one", "p", source="here", age=41.5, sex="M")
    for calibrated, group in ((True, "calibrated"), (False, "assumed")):
        stored = StoredSlice(np.zeros([8, 8], np.uint16), 1.0, -1000.0, calibrated)
        features = {
            name: list(getattr(feature, feature.WhichOneof("kind")).value)
            for name, feature in make_example(stored, facts).features.feature.items()
        }
        assert groups_of(features) == {
            "sex": "M",
            "age": "40-59",
            "source": "here",
            "hounsfield": group,
        }


def test_groups_of_fewer_than_twenty_patients_are_small():
    assert SMALL_GROUP == 20
    assert is_small(19)
    assert not is_small(20)
