"""The preprocessing graph that TFT traces and the exported model carries, run by real Beam."""

import functools
from pathlib import Path

import apache_beam as beam
import numpy as np
import pydicom
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import tfx.v1  # noqa: F401 before tfx_bsl, which needs TFX's stand-in
from google.protobuf import text_format
from PIL import Image
from pydicom.data import get_testdata_file
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils
from tfx_bsl.public import tfxio

from transform import ct_example, preprocessing
from transform.ct_example import SliceFacts, StoredSlice, make_example
from transform.preprocessing import FITTED, preprocessing_fn
from transform.reading import read_slice
from transform.schema import SCHEMA_FILE

SIZE = 16
WINDOW = (-1000.0, 400.0)
CT_SMALL = Path(get_testdata_file("CT_small.dcm"))
GENERATOR = np.random.default_rng(5)


def random_slice(height, width):
    stored = GENERATOR.integers(0, 3000, (height, width), dtype=np.uint16)
    return StoredSlice(stored, slope=0.75, intercept=-1300.0, calibrated=True)


# Of the model's size, so that the reference needs no resize; the analysis is over two batches.
TRAINING = [random_slice(SIZE, SIZE) for _ in range(5)]
FULL_SIZE = [read_slice(CT_SMALL, WINDOW), random_slice(128, 128)]
OTHERS = [random_slice(SIZE, SIZE), random_slice(40, 31), random_slice(1, 1)]


def config(zero_centre, size=SIZE):
    return {"hu_min": -1000.0, "hu_max": 400.0, "image_size": size, "zero_centre": zero_centre}


def paper(stored_slice):
    """The formula of the paper, in float64: (HU + 1000) / 1400, clipped to [0, 1]."""
    stored = stored_slice.stored.astype(np.float64)
    hounsfield = stored * stored_slice.slope + stored_slice.intercept
    return np.clip((hounsfield + 1000.0) / 1400.0, 0.0, 1.0)


def records(slices):
    return [
        make_example(
            one, SliceFacts(image_id=f"s{i}", patient_id=f"p{i}", label=i % 2)
        ).SerializeToString()
        for i, one in enumerate(slices)
    ]


def training_schema():
    return text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())


def fit(folder, zero_centre, slices, size=SIZE):
    """Analyse and transform CT examples as TFX's Transform does; the graph and its output."""
    source = tfxio.TFExampleBeamRecord(
        physical_format="inmem", telemetry_descriptors=["test"], schema=training_schema()
    )
    with (
        beam.Pipeline(runner="FnApiRunner") as pipeline,
        tft_beam.Context(temp_dir=str(folder / "temporary"), desired_batch_size=2),
    ):
        raw = pipeline | beam.Create(records(slices)) | source.BeamSource()
        (transformed, metadata), transform_fn = (
            raw,
            source.TensorAdapterConfig(),
        ) | tft_beam.AnalyzeAndTransformDataset(
            functools.partial(preprocessing_fn, custom_config=config(zero_centre, size)),
            output_record_batches=False,
        )
        del metadata
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
        _ = (
            transformed
            | "Encode" >> beam.Map(lambda row: row[preprocessing.IMAGE].astype("<f4").tobytes())
            | beam.io.WriteToTFRecord(str(folder / "transformed"), num_shards=1)
        )
    (shard,) = folder.glob("transformed*")
    images = [
        np.frombuffer(record.numpy(), "<f4").reshape(size, size)
        for record in tf.data.TFRecordDataset(str(shard))
    ]
    return tft.TFTransformOutput(str(folder / "graph")), images


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("fitted"), FITTED, TRAINING)


@pytest.fixture(scope="module")
def centred_as_in_the_paper(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("paper"), 0.25, FULL_SIZE, size=128)


def apply(transform_output, slices, without_label=False):
    """What the exported model does with CT examples."""
    without = {ct_example.LABEL} if without_label else set()
    specification = schema_utils.schema_as_feature_spec(training_schema()).feature_spec
    features = tf.io.parse_example(
        records(slices), {name: one for name, one in specification.items() if name not in without}
    )
    return transform_output.transform_features_layer()(features)


def test_the_fitted_centre_is_the_mean_of_the_training_split(fitted):
    graph, images = fitted
    centre = np.mean([paper(one) for one in TRAINING])
    for one, image in zip(TRAINING, images, strict=True):
        np.testing.assert_allclose(image, paper(one) - centre, atol=2e-6)
    assert np.mean(images) == pytest.approx(0.0, abs=1e-6)
    image = apply(graph, OTHERS[:1])[preprocessing.IMAGE].numpy()
    np.testing.assert_allclose(image[0, ..., 0], paper(OTHERS[0]) - centre, atol=2e-6)


def test_a_number_as_centre_is_subtracted_as_it_is(centred_as_in_the_paper):
    graph, images = centred_as_in_the_paper
    served = apply(graph, FULL_SIZE)[preprocessing.IMAGE].numpy()[..., 0]
    for i, one in enumerate(FULL_SIZE):
        np.testing.assert_allclose(images[i], paper(one) - 0.25, atol=2e-6)
        np.testing.assert_allclose(served[i], paper(one) - 0.25, atol=2e-6)


def test_training_and_the_saved_graph_see_the_same_tensors(fitted):
    graph, images = fitted
    served = apply(graph, TRAINING)[preprocessing.IMAGE].numpy()
    np.testing.assert_array_equal(served[..., 0], images)


def test_label_and_ids_pass_through(fitted):
    transformed = apply(fitted[0], OTHERS)
    assert transformed[preprocessing.IMAGE].shape == (3, SIZE, SIZE, 1)
    assert transformed[preprocessing.IMAGE].dtype == tf.float32
    assert transformed[preprocessing.LABEL].numpy().tolist() == [0, 1, 0]
    assert transformed[preprocessing.IMAGE_ID].numpy().tolist() == [b"s0", b"s1", b"s2"]
    assert transformed[preprocessing.PATIENT_ID].numpy().tolist() == [b"p0", b"p1", b"p2"]


def test_serving_needs_no_label(fitted):
    served = apply(fitted[0], OTHERS, without_label=True)[preprocessing.IMAGE]
    labelled = apply(fitted[0], OTHERS)[preprocessing.IMAGE]
    np.testing.assert_array_equal(served, labelled)


def test_a_slice_of_one_pixel_becomes_a_constant_picture(fitted):
    centre = np.mean([paper(one) for one in TRAINING])
    image = apply(fitted[0], OTHERS[2:])[preprocessing.IMAGE].numpy()
    np.testing.assert_allclose(image, paper(OTHERS[2])[0, 0] - centre, atol=2e-6)


@pytest.fixture
def exported_picture(tmp_path):
    """What a viewer exports of the DICOM slice under the assumed window: an 8-bit PNG."""
    dataset = pydicom.dcmread(CT_SMALL)
    slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    low, high = WINDOW
    windowed = np.clip(dataset.pixel_array * slope + intercept, low, high)
    path = tmp_path / "slice.png"
    Image.fromarray(np.round((windowed - low) / (high - low) * 255).astype(np.uint8)).save(path)
    return path


# Half a grey level of the PNG, 1400 / 255 / 2 HU, once it is scaled.
PNG_ROUNDING = 0.5 / 255


def test_dicom_and_an_8_bit_picture_of_the_same_slice_reach_the_model_alike(
    centred_as_in_the_paper, exported_picture
):
    pair = [read_slice(path, WINDOW) for path in (CT_SMALL, exported_picture)]
    assert [one.calibrated for one in pair] == [True, False]
    true, exported = apply(centred_as_in_the_paper[0], pair)[preprocessing.IMAGE].numpy()
    assert np.ptp(true) > 0.5
    difference = np.abs(true - exported).max()
    # At full size the rounding of single pixels shows, so that the two are not one file read twice.
    assert 0.8 * PNG_ROUNDING < difference <= PNG_ROUNDING + 1e-6


def test_dicom_and_an_8_bit_picture_stay_alike_through_a_resize(fitted, exported_picture):
    pair = [read_slice(path, WINDOW) for path in (CT_SMALL, exported_picture)]
    true, exported = apply(fitted[0], pair)[preprocessing.IMAGE].numpy()
    assert np.ptp(true) > 0.2
    assert np.abs(true - exported).max() <= PNG_ROUNDING + 1e-6
