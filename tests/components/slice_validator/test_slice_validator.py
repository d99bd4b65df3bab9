"""SliceValidator stops a run over data that breaks the schema, on TFDV's real statistics."""

import numpy as np
import pytest

from transform import ct_example
from transform.ct_example import SliceFacts, StoredSlice, make_example
from transform.errors import BadDataError


def sound_examples(count=6):
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8) * 20
    stored_slice = StoredSlice(stored, slope=1.0, intercept=-1000.0, calibrated=True)
    return [
        make_example(
            stored_slice,
            SliceFacts(
                image_id=f"{number}.png",
                patient_id=f"p{number // 2}",
                label=number % 2,
                # Unknown for some: slicing features are free.
                age=40.0 if number % 3 else None,
                sex="F" if number % 4 == 0 else None,
            ),
        )
        for number in range(count)
    ]


def refused(validate, examples_by_split):
    with pytest.raises(BadDataError) as caught:
        validate(examples_by_split)
    message = str(caught.value)
    assert message.startswith("the data breaks the schema: ")
    assert len(message.splitlines()) == 1
    return message


def test_clean_data_passes_and_the_pixels_are_not_missed(validate):
    anomalies = validate({"train": sound_examples(), "eval": sound_examples(2)}).anomalies
    assert all(not found.anomaly_info for found in anomalies.values())


@pytest.mark.parametrize("label", [2, -1])
def test_a_label_that_is_neither_0_nor_1_stops_the_run(validate, label):
    examples = sound_examples()
    examples[3].features.feature[ct_example.LABEL].int64_list.value[:] = [label]
    message = refused(validate, {"train": examples})
    assert "label: " in message
    assert "patient_id" not in message


@pytest.mark.parametrize("name", [ct_example.SLOPE, ct_example.PATIENT_ID, ct_example.LABEL])
def test_a_required_feature_that_is_missing_once_stops_the_run(validate, name):
    examples = sound_examples()
    del examples[1].features.feature[name]
    assert f"{name}: " in refused(validate, {"train": examples})


def test_a_required_feature_that_is_missing_altogether_stops_the_run(validate):
    examples = sound_examples()
    for one in examples:
        del one.features.feature[ct_example.CALIBRATED]
    assert f"{ct_example.CALIBRATED}: " in refused(validate, {"train": examples})


@pytest.mark.parametrize("mean", [-5000.0, 5000.0, float("nan")])
def test_impossible_hounsfield_units_stop_the_run(validate, mean):
    examples = sound_examples()
    examples[0].features.feature[ct_example.MEAN_HU].float_list.value[:] = [mean]
    assert f"{ct_example.MEAN_HU}: " in refused(validate, {"train": examples})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (ct_example.MIN_HU, float("nan")),
        (ct_example.MAX_HU, float("inf")),
        (ct_example.SHARPNESS, -1.0),
        (ct_example.NOISE, float("nan")),
        (ct_example.SPACING, -0.5),
    ],
)
def test_impossible_numbers_about_pixels_stop_the_run(validate, name, value):
    examples = sound_examples()
    examples[0].features.feature[name].float_list.value[:] = [value]
    assert f"{name}: " in refused(validate, {"train": examples})


def test_what_is_wrong_in_any_split_is_named(validate):
    train, evaluation = sound_examples(), sound_examples()
    train[0].features.feature[ct_example.LABEL].int64_list.value[:] = [7]
    del evaluation[0].features.feature[ct_example.SLOPE]
    message = refused(validate, {"train": train, "eval": evaluation, "test": sound_examples()})
    assert "label: " in message
    assert f"{ct_example.SLOPE}: " in message
