"""The CT example and its schema: what is written is what is read, and unknown means absent."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils

from transform import ct_example
from transform.ct_example import SliceFacts, StoredSlice, make_example
from transform.schema import SCHEMA_FILE
from transform.slice_statistics import slice_statistics

STORED = np.arange(12, dtype=np.uint16).reshape(3, 4) * 100
SLICE = StoredSlice(STORED, slope=1.0, intercept=-1000.0, calibrated=True, spacing=0.7)
WITHOUT_SPACING = StoredSlice(STORED, slope=1.0, intercept=-1000.0, calibrated=True)
FULL = SliceFacts(
    image_id="a/b.png",
    patient_id="p1",
    source="Tongji",
    label=1,
    age=41,
    sex="F",
    study_date="2020-02-11",
    span=3,
)
ALWAYS = {
    ct_example.IMAGE,
    ct_example.SLOPE,
    ct_example.INTERCEPT,
    ct_example.CALIBRATED,
    ct_example.IMAGE_ID,
    ct_example.PATIENT_ID,
    ct_example.SOURCE,
    *ct_example.STATS,
} - {ct_example.SPACING}


def feature_spec(*, without=()):
    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    specification = schema_utils.schema_as_feature_spec(schema).feature_spec
    return {name: one for name, one in specification.items() if name not in without}


def parse(example, specification):
    return tf.io.parse_single_example(example.SerializeToString(), specification)


def test_the_schema_parses_all_that_an_example_holds():
    specification = feature_spec()
    example = make_example(SLICE, FULL)
    assert set(example.features.feature) == set(specification)
    parsed = parse(example, specification)
    np.testing.assert_array_equal(
        tf.io.decode_png(parsed[ct_example.IMAGE], dtype=tf.uint16)[..., 0], STORED
    )
    scalars = {
        ct_example.SLOPE: 1.0,
        ct_example.INTERCEPT: -1000.0,
        ct_example.CALIBRATED: 1,
        ct_example.IMAGE_ID: b"a/b.png",
        ct_example.PATIENT_ID: b"p1",
        ct_example.SOURCE: b"Tongji",
        ct_example.LABEL: 1,
        ct_example.HEIGHT: 3.0,
        ct_example.WIDTH: 4.0,
    }
    for name, value in scalars.items():
        assert parsed[name].shape == []
        assert parsed[name].numpy() == value
    known = (
        (ct_example.AGE, 41.0),
        (ct_example.SEX, b"F"),
        (ct_example.SPACING, np.float32(0.7)),
        (ct_example.SPAN, 3),
    )
    for name, value in known:
        assert parsed[name].values.numpy().tolist() == [value]


def test_a_serving_example_without_label_parses_with_the_rest_of_the_schema():
    example = make_example(SLICE, SliceFacts(image_id="x"))
    assert ct_example.LABEL not in example.features.feature
    parsed = parse(example, feature_spec(without=[ct_example.LABEL]))
    assert parsed[ct_example.PATIENT_ID].numpy() == b""
    assert parsed[ct_example.AGE].values.shape == [0]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"label.*required but could not"):
        parse(example, feature_spec())


def test_unknown_features_are_absent_not_empty():
    example = make_example(WITHOUT_SPACING, SliceFacts(image_id="x", sex="", study_date=""))
    assert set(example.features.feature) == ALWAYS


def test_a_label_of_zero_and_an_age_of_zero_are_known():
    example = make_example(WITHOUT_SPACING, SliceFacts(image_id="x", label=0, age=0))
    assert set(example.features.feature) == ALWAYS | {ct_example.LABEL, ct_example.AGE}
    assert example.features.feature[ct_example.LABEL].int64_list.value[:] == [0]
    assert example.features.feature[ct_example.AGE].float_list.value[:] == [0.0]


def test_the_statistics_are_those_of_the_slice_or_those_that_are_given():
    def written(statistics):
        features = make_example(SLICE, FULL, statistics).features.feature
        return {name: features[name].float_list.value[0] for name in ct_example.STATS}

    computed = slice_statistics(SLICE)
    assert set(computed) == set(ct_example.STATS)
    assert written(None) == pytest.approx(computed)
    other = {name: value + 1.0 for name, value in computed.items()}
    assert written(other) == pytest.approx(other)


def test_the_schema_lets_serving_do_without_the_label_alone():
    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    without = [feature.name for feature in schema.feature if feature.not_in_environment]
    assert without == [ct_example.LABEL]
    assert set(schema.default_environment) == {"TRAINING", "SERVING"}
