"""TFDV's real statistics of CT examples, as StatisticsGen leaves them."""

import numpy as np
import pytest
import tfx.v1  # noqa: F401 before TFDV, which needs TFX's stand-in
from google.protobuf import text_format
from tensorflow_data_validation import StatsOptions
from tensorflow_data_validation.statistics.stats_impl import generate_statistics_in_memory
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from transform import ct_example
from transform.ct_example import SliceFacts, StoredSlice, make_example
from transform.schema import SCHEMA_FILE


def example(number, *, calibrated=True, **facts):
    """A CT example of 32 x 32 pixels, two slices a patient."""
    pixels = np.random.default_rng(number).integers(0, 1000, (32, 32)).astype(np.uint16)
    slice_facts = SliceFacts(
        image_id=f"slice-{number}", patient_id=f"p{number // 2}", label=number % 2, **facts
    )
    return make_example(StoredSlice(pixels, 1.0, -1024.0, calibrated), slice_facts)


def statistics_of(examples):
    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    names = [one.name for one in schema.feature if one.name != ct_example.IMAGE]
    batch = ExamplesToRecordBatchDecoder().DecodeBatch(
        [one.SerializeToString() for one in examples]
    )
    return generate_statistics_in_memory(batch, StatsOptions(feature_allowlist=names))


@pytest.fixture
def statistics(tmp_path):
    """`(split -> CT examples)`: the artifact."""

    def make(examples_by_split):
        made = standard_artifacts.ExampleStatistics()
        made.uri = str(tmp_path / "statistics")
        made.split_names = artifact_utils.encode_split_names(list(examples_by_split))
        for split, examples in examples_by_split.items():
            folder = tmp_path / "statistics" / f"Split-{split}"
            folder.mkdir(parents=True)
            (folder / "FeatureStats.pb").write_bytes(statistics_of(examples).SerializeToString())
        return made

    return make


@pytest.fixture
def slices():
    """`(numbers, what is known of them)`: CT examples."""
    return lambda numbers, **facts: [example(number, **facts) for number in numbers]
