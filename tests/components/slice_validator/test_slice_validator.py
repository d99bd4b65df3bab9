"""SliceValidator stops a run over data that breaks the schema, on TFDV's real statistics."""

import numpy as np
import pytest
import tfx.v1  # noqa: F401 before TFDV, which needs TFX's stand-in
from google.protobuf import text_format
from tensorflow_data_validation import StatsOptions
from tensorflow_data_validation.statistics.stats_impl import generate_statistics_in_memory
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from components.slice_validator.executor import Executor
from transform import ct_example
from transform.ct_example import SliceFacts, StoredSlice, make_example
from transform.errors import BadDataError
from transform.schema import SCHEMA_FILE


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


@pytest.fixture
def validate(tmp_path):
    """`(split -> CT examples)`: TFDV's statistics, then SliceValidator; the anomalies by split."""

    def run(examples_by_split):
        statistics = standard_artifacts.ExampleStatistics()
        statistics.uri = str(tmp_path / "statistics")
        statistics.split_names = artifact_utils.encode_split_names(list(examples_by_split))
        schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
        names = [one.name for one in schema.feature if one.name != ct_example.IMAGE]
        for split, examples in examples_by_split.items():
            batch = ExamplesToRecordBatchDecoder().DecodeBatch(
                [one.SerializeToString() for one in examples]
            )
            of_split = generate_statistics_in_memory(batch, StatsOptions(feature_allowlist=names))
            folder = tmp_path / "statistics" / f"Split-{split}"
            folder.mkdir(parents=True)
            (folder / "FeatureStats.pb").write_bytes(of_split.SerializeToString())
        schema_folder = tmp_path / "schema"
        schema_folder.mkdir()
        (schema_folder / SCHEMA_FILE.name).write_text(SCHEMA_FILE.read_text())
        schema_artifact = standard_artifacts.Schema()
        schema_artifact.uri = str(schema_folder)
        anomalies = standard_artifacts.ExampleAnomalies()
        anomalies.uri = str(tmp_path / "anomalies")
        Executor().Do(
            {"statistics": [statistics], "schema": [schema_artifact]},
            {"anomalies": [anomalies]},
            {"exclude_splits": "[]"},
        )
        return {
            split: anomalies_pb2.Anomalies.FromString(
                (tmp_path / "anomalies" / f"Split-{split}" / "SchemaDiff.pb").read_bytes()
            )
            for split in examples_by_split
        }

    return run


def refused(validate, examples_by_split):
    with pytest.raises(BadDataError) as caught:
        validate(examples_by_split)
    message = str(caught.value)
    assert message.startswith("the data breaks the schema: ")
    assert len(message.splitlines()) == 1
    return message


def test_clean_data_passes_and_the_pixels_are_not_missed(validate):
    anomalies = validate({"train": sound_examples(), "eval": sound_examples(2)})
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


def test_what_is_wrong_in_any_split_is_named(validate):
    train, evaluation = sound_examples(), sound_examples()
    train[0].features.feature[ct_example.LABEL].int64_list.value[:] = [7]
    del evaluation[0].features.feature[ct_example.SLOPE]
    message = refused(validate, {"train": train, "eval": evaluation, "test": sound_examples()})
    assert "label: " in message
    assert f"{ct_example.SLOPE}: " in message
