"""CT examples, TFDV's real statistics of them, and SliceValidator on real artifacts."""

import dataclasses

import apache_beam as beam
import numpy as np
import pytest
import tfx.v1  # noqa: F401 before TFDV, which needs TFX's stand-in

# isort: split

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_data_validation import StatsOptions
from tensorflow_data_validation.statistics.stats_impl import generate_statistics_in_memory
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from components.slice_validator.drift import Drift, read_drift
from components.slice_validator.executor import Executor
from pipeline.dag import statistics_options
from transform import ct_example
from transform.ct_example import SliceFacts, StoredSlice, make_example
from transform.phantom import draw_patient, render_slice
from transform.phantom.render import pixel_spacing
from transform.schema import SCHEMA_FILE

SIZE = 64
SLICES = 3


def write_statistics(examples, file):
    """TFDV's statistics, as StatisticsGen makes them."""
    batch = ExamplesToRecordBatchDecoder().DecodeBatch(
        [one.SerializeToString() for one in examples]
    )
    if not any(ct_example.SPAN in one.features.feature for one in examples):
        # What has no span is not sliced, and a Beam job takes longer than all the rest.
        options = StatsOptions(feature_allowlist=allowed_features())
        file.write_bytes(generate_statistics_in_memory(batch, options).SerializeToString())
        return
    options = statistics_options()
    with beam.Pipeline(argv=["--runner=FnApiRunner"]) as pipeline:
        _ = (
            pipeline
            | beam.Create([batch])
            # StatisticsGen is told the options as JSON.
            | tfdv.GenerateStatistics(StatsOptions.from_json(options.to_json()))
            | tfdv.WriteStatisticsToBinaryFile(str(file))
        )


def allowed_features():
    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    return [one.name for one in schema.feature if one.name != ct_example.IMAGE]


@pytest.fixture(scope="session")
def phantoms():
    """`(patient numbers, changes -> CT examples)`, three slices a patient.

    Changes: `noise` (added, HU), `softer` (how often the kernel is applied), `offset` (HU),
    `halved` (resolution), `source`, `spacing` (False: unknown), `span`.
    """
    patients = {}
    # Growing vessels takes longer than all the rest, and whose they are does not matter here.
    vessels = draw_patient(seed=11, number=0).vessels

    def rendered(number):
        if number not in patients:
            patient = draw_patient(seed=11, number=number)
            vars(patient)["vessels"] = vessels
            patients[number] = (
                pixel_spacing(patient.anatomy, SIZE),
                [render_slice(patient, index, SLICES, SIZE).hu for index in range(SLICES)],
            )
        return patients[number]

    def make(
        numbers,
        *,
        noise=0.0,
        softer=0,
        offset=0.0,
        halved=False,
        source="phantom",
        spacing=True,
        span=None,
    ):
        examples = []
        draw = np.random.default_rng(0)
        for number in numbers:
            side, slices = rendered(number)
            for index, rendered_hu in enumerate(slices):
                hu = rendered_hu.astype(np.float64)
                for _ in range(softer):
                    hu[:, 1:-1] = (hu[:, :-2] + 2 * hu[:, 1:-1] + hu[:, 2:]) / 4
                    hu[1:-1] = (hu[:-2] + 2 * hu[1:-1] + hu[2:]) / 4
                hu += draw.normal(0, noise, hu.shape)
                if halved:
                    hu = hu.reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3))
                stored_slice = StoredSlice(
                    np.rint(hu + 1024).clip(0).astype(np.uint16),
                    slope=1.0,
                    intercept=-1024.0 + offset,
                    calibrated=True,
                    spacing=side * (1 + halved) if spacing else None,
                )
                facts = SliceFacts(
                    image_id=f"{number}/{index}",
                    patient_id=f"p{number}",
                    source=source,
                    label=number % 2,
                    span=span,
                )
                examples.append(make_example(stored_slice, facts))
        return examples

    return make


@dataclasses.dataclass
class Validated:
    """What SliceValidator left."""

    anomalies: dict[str, anomalies_pb2.Anomalies]
    drift: Drift
    artifact: standard_artifacts.ExampleAnomalies


@pytest.fixture
def statistics_artifact(tmp_path):
    """`(name, split -> CT examples)`: an artifact as StatisticsGen leaves it."""

    def make(name, examples_by_split, artifact_id=0):
        statistics = standard_artifacts.ExampleStatistics()
        statistics.uri = str(tmp_path / name)
        statistics.id = artifact_id
        statistics.split_names = artifact_utils.encode_split_names(list(examples_by_split))
        for split, examples in examples_by_split.items():
            folder = tmp_path / name / f"Split-{split}"
            folder.mkdir(parents=True)
            write_statistics(examples, folder / "FeatureStats.pb")
        return statistics

    return make


@pytest.fixture
def validate(tmp_path, statistics_artifact):
    """`(split -> CT examples)`: TFDV's statistics, then SliceValidator."""

    def run(examples_by_split, last_run=None, refuse_drift=None):
        inputs = {"statistics": [statistics_artifact("statistics", examples_by_split, 7)]}
        if last_run is not None:
            inputs["baseline_statistics"] = [statistics_artifact("baseline", last_run, 3)]
        schema_folder = tmp_path / "schema"
        schema_folder.mkdir()
        (schema_folder / SCHEMA_FILE.name).write_text(SCHEMA_FILE.read_text())
        schema_artifact = standard_artifacts.Schema()
        schema_artifact.uri = str(schema_folder)
        anomalies = standard_artifacts.ExampleAnomalies()
        anomalies.uri = str(tmp_path / "anomalies")
        Executor().Do(
            {**inputs, "schema": [schema_artifact]},
            {"anomalies": [anomalies]},
            {"exclude_splits": "[]", "refuse_drift": refuse_drift},
        )
        folder = tmp_path / "anomalies"
        by_split = {
            split: anomalies_pb2.Anomalies.FromString(
                (folder / f"Split-{split}" / "SchemaDiff.pb").read_bytes()
            )
            for split in examples_by_split
        }
        return Validated(by_split, read_drift(folder), anomalies)

    return run
