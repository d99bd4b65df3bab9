"""Tiny slices through the real Transform, as TFX leaves them for the Trainer."""

import contextlib
import dataclasses
import functools
import resource
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import tfx.v1  # noqa: F401 before tfx_bsl, which needs TFX's stand-in
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from tfx_bsl.public import tfxio

from trainer.centre import fitted_centre
from trainer.input import SplitFiles
from transform import preprocessing
from transform.ct_example import EVAL, TRAIN, SliceFacts, StoredSlice, make_example
from transform.schema import SCHEMA_FILE

SIZE = 32
HU_MIN, HU_MAX = -1000.0, 400.0
WINDOW = (-1000.0, 400.0)
SHARED = Path(__file__).resolve().parents[3] / "shared"


@dataclasses.dataclass(frozen=True)
class Study:
    """What Transform leaves.

    Attributes:
      folder: of the graph, as the Trainer is given it.
      transform: the graph.
      raw: serialised CT examples by split.
      transformed: serialised transformed examples by split, in the order of the files.
      patterns: file patterns by split, as the Trainer is given them.
    """

    folder: Path
    transform: tft.TFTransformOutput
    raw: dict
    transformed: dict
    patterns: dict

    def files(self, split=TRAIN):
        return SplitFiles(self.patterns[split], self.transform)

    def parsed(self, split):
        """Features of every transformed example, numpy, by image id."""
        spec = self.transform.transformed_feature_spec()
        rows = [tf.io.parse_single_example(one, spec) for one in self.transformed[split]]
        return {
            row[preprocessing.IMAGE_ID].numpy().decode(): {
                name: value.numpy() for name, value in row.items()
            }
            for row in rows
        }

    @property
    def centre(self):
        return fitted_centre(self.transform, HU_MIN)


def make_slice(generator, label, side):
    """A noisy disc; the positive ones are denser."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2.0
    disc = np.hypot(rows, columns) < side * 0.4
    hounsfield = np.where(disc, -800.0 + 500.0 * label, 0.0)
    hounsfield += generator.normal(0.0, 60.0, (side, side))
    stored = np.clip(hounsfield + 1024.0, 0, 4095).astype(np.uint16)
    return StoredSlice(stored, slope=1.0, intercept=-1024.0, calibrated=True)


def make_records(split, negative, positive, seed):
    generator = np.random.default_rng(seed)
    labels = [0] * negative + [1] * positive
    return [
        make_example(
            make_slice(generator, label, (16, 20)[number % 2]),
            SliceFacts(f"{split}-{number}", f"{split}-patient-{number}", label=label),
        ).SerializeToString()
        for number, label in enumerate(labels)
    ]


def run_transform(folder, raw):
    """Analyse the training split and transform both, as TFX's Transform does, on real Beam."""
    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    source = tfxio.TFExampleBeamRecord(
        physical_format="inmem", telemetry_descriptors=["test"], schema=schema
    )
    # TFX leaves the schema of the raw examples beside the graph.
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema),
        f"{folder}/{tft.TFTransformOutput.RAW_METADATA_DIR}",
    )
    custom_config = {
        "hu_min": HU_MIN,
        "hu_max": HU_MAX,
        "image_size": SIZE,
        "zero_centre": preprocessing.FITTED,
    }
    with (
        beam.Pipeline(runner="FnApiRunner") as pipeline,
        tft_beam.Context(temp_dir=str(folder / "temporary"), desired_batch_size=8),
    ):
        data = {
            split: (
                pipeline
                | f"Create{split}" >> beam.Create(records, reshuffle=False)
                | f"Read{split}" >> source.BeamSource()
            )
            for split, records in raw.items()
        }
        config = source.TensorAdapterConfig()
        transform_fn = (data[TRAIN], config) | tft_beam.AnalyzeDataset(
            functools.partial(preprocessing.preprocessing_fn, custom_config=custom_config)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder))
        for split in raw:
            transformed, metadata = (
                (data[split], config),
                transform_fn,
            ) | f"Transform{split}" >> tft_beam.TransformDataset(output_record_batches=True)
            encoder = RecordBatchToExamplesEncoder(metadata.schema)
            _ = (
                transformed
                | f"Encode{split}"
                >> beam.FlatMapTuple(lambda batch, _, encoder=encoder: encoder.encode(batch))
                | f"Write{split}"
                >> beam.io.WriteToTFRecord(
                    str(folder / split / "transformed"), file_name_suffix=".gz", num_shards=2
                )
            )


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformed")
    raw = {TRAIN: make_records(TRAIN, 12, 8, seed=1), EVAL: make_records(EVAL, 6, 6, seed=2)}
    run_transform(folder, raw)
    patterns = {split: [f"{folder}/{split}/*"] for split in raw}
    transform = tft.TFTransformOutput(str(folder))
    transformed = {
        split: [one.numpy() for one in SplitFiles(patterns[split], transform).records()]
        for split in raw
    }
    return Study(folder, transform, raw, transformed, patterns)


@contextlib.contextmanager
def limited_files(size):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def files_of_at_most():
    """A context in which the system lets no file grow beyond some bytes, as on a full disk.

    A context and not a fixture that lasts, because pytest's own output is a file at times.
    """
    return limited_files


@pytest.fixture(scope="session")
def shared_weights():
    """The pretrained EfficientNetB3 beside the checkout."""
    path = SHARED / "weights" / "efficientnetb3_notop.h5"
    if not path.exists():
        pytest.skip(f"no pretrained weights at {path}")
    return path
