"""Requests are compared with what the served model was trained on, in every form they come in."""

import gzip
import io
import json

import ml_metadata
import numpy as np
import pytest
import tensorflow as tf
import tfx.v1  # noqa: F401 before TFDV, which needs TFX's stand-in
from ml_metadata.proto import metadata_store_pb2
from PIL import Image
from tensorflow_data_validation import StatsOptions
from tensorflow_data_validation.statistics.stats_impl import generate_statistics_in_memory
from tensorflow_serving.apis import prediction_log_pb2
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from pipeline.serving_skew import check_serving_skew
from transform import ct_example
from transform.ct_example import SliceFacts, StoredSlice, make_example
from transform.errors import BadDataError, ConfigError
from transform.phantom import draw_patient, render_slice
from transform.phantom.dicom import SeriesWriter
from transform.prediction import EXAMPLES, IMAGE_BYTES

pytestmark = pytest.mark.slow

SIZE = 64
WINDOW = (-1000.0, 400.0)
TRAINED, ASKED = range(24), range(24, 48)


@pytest.fixture(scope="module")
def slices():
    """HU of two slices a patient by patient; vessels are shared, for they take most of the time."""
    vessels = draw_patient(seed=2, number=0).vessels
    found = {}
    for number in [*TRAINED, *ASKED]:
        patient = draw_patient(seed=2, number=number)
        vars(patient)["vessels"] = vessels
        found[number] = [render_slice(patient, index, 2, SIZE).hu for index in range(2)]
    return found


def stored(hu, offset=0.0):
    values = np.rint(hu.astype(np.float64) + 1024).clip(0).astype(np.uint16)
    return StoredSlice(values, 1.0, -1024.0 + offset, calibrated=True, spacing=None)


def examples_of(slices, numbers, *, noise=0.0, offset=0.0, patients=True):
    draw = np.random.default_rng(0)
    return [
        make_example(
            stored(hu + draw.normal(0, noise, hu.shape), offset),
            SliceFacts(image_id="x", patient_id=f"p{number}" if patients else ""),
        )
        for number in numbers
        for hu in slices[number]
    ]


class Runs:
    """A run's folder with the metadata that the steps of finished runs leave."""

    def __init__(self, root):
        self.root = root
        self.number = 0
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(root / "metadata.sqlite")
        self.store = ml_metadata.MetadataStore(connection)
        self.run_type = self.store.put_context_type(
            metadata_store_pb2.ContextType(name="pipeline_run")
        )
        self.artifact_type = self.store.put_artifact_type(
            metadata_store_pb2.ArtifactType(name="Anything")
        )

    def _step(self, context, name, key=None, uri="", **properties):
        execution = metadata_store_pb2.Execution(
            type_id=self.store.put_execution_type(
                metadata_store_pb2.ExecutionType(name=f"some.module.{name}")
            ),
            last_known_state=metadata_store_pb2.Execution.COMPLETE,
        )
        artifact = metadata_store_pb2.Artifact(type_id=self.artifact_type, uri=str(uri))
        for name_of, value in properties.items():
            target = execution if key is None else artifact
            kind = "int_value" if isinstance(value, int) else "string_value"
            setattr(target.custom_properties[name_of], kind, value)
        outputs = []
        if key is not None:
            event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
            event.path.steps.add().key = key
            event.path.steps.add().index = 0
            outputs = [(artifact, event)]
        self.store.put_execution(execution, outputs, [context])

    def export(self, folder, number):
        """The model of a run, in a folder."""
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_text("")
        (folder / "fingerprint.pb").write_text(str(number))

    def add(self, examples, *, pushed):
        """A run that came to its end."""
        self.number += 1
        statistics = self.root / f"statistics-{self.number}"
        (statistics / "Split-train").mkdir(parents=True)
        reduced = [tf.train.Example.FromString(one.SerializeToString()) for one in examples]
        for one in reduced:
            del one.features.feature[ct_example.IMAGE]
        batch = ExamplesToRecordBatchDecoder().DecodeBatch(
            [one.SerializeToString() for one in reduced]
        )
        content = generate_statistics_in_memory(batch, StatsOptions()).SerializeToString()
        (statistics / "Split-train" / "FeatureStats.pb").write_bytes(content)
        context = metadata_store_pb2.Context(type_id=self.run_type, name=f"run {self.number}")
        (context.id,) = self.store.put_contexts([context])
        self._step(context, "StatisticsGen", "statistics", statistics)
        self._step(context, "Trainer", "model", self.root / f"model-{self.number}")
        told = {"pushed": 1, "pushed_version": str(self.number)} if pushed else {"pushed": 0}
        archive = self.root / f"pushed-{self.number}"
        if pushed:
            self.export(archive, self.number)
        self._step(context, "AtomicPusher", "pushed_model", archive, **told)
        settings = {"config": {"hounsfield": {"window": list(WINDOW)}}}
        self._step(context, "ReportGen", settings=json.dumps(settings))


@pytest.fixture
def two_pushed(tmp_path, slices):
    """Two runs that pushed versions 1 and 2, of unlike slices."""
    runs = Runs(tmp_path)
    runs.add(examples_of(slices, TRAINED), pushed=True)
    runs.add(examples_of(slices, TRAINED, offset=80.0), pushed=True)
    return runs


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, slices):
    root = tmp_path_factory.mktemp("workdir")
    Runs(root).add(examples_of(slices, TRAINED), pushed=True)
    return root


def write_records(path, records, compression="GZIP"):
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return path


def logged(name, values):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return log.SerializeToString()


def features_of(result):
    return {one.feature for one in result.features}


@pytest.mark.parametrize("patients", [True, False])
def test_requests_like_the_training_data_raise_no_alarm(workdir, slices, tmp_path, patients):
    examples = examples_of(slices, ASKED, patients=patients)
    asked = write_records(tmp_path / "asked", [one.SerializeToString() for one in examples])
    result = check_serving_skew(workdir, [asked])
    assert result.lines == result.features == ()
    assert result.counts == {"training": 48, "requests": 48, "unusable": 0}
    assert result.model == "version 1"


@pytest.mark.parametrize(
    ("change", "seen_in"),
    [
        ({"noise": 40.0}, {ct_example.NOISE}),
        ({"offset": 50.0}, {ct_example.MIN_HU, ct_example.LUNG_FRACTION}),
    ],
)
def test_other_images_in_a_servers_request_log_are_told(workdir, slices, tmp_path, change, seen_in):
    examples = [one.SerializeToString() for one in examples_of(slices, ASKED, **change)]
    batches = [logged(EXAMPLES, examples[first : first + 5]) for first in range(0, 48, 5)]
    log = write_records(tmp_path / "log", batches, compression="")
    result = check_serving_skew(workdir, [log])
    assert result.counts["requests"] == 48
    assert seen_in <= features_of(result)
    assert {one.splits for one in result.features} == {("train", "requests")}
    assert any("the requests and the training data" in line for line in result.lines)


def test_pictures_asked_of_a_model_that_was_trained_on_hounsfield_units_are_told(
    workdir, slices, tmp_path
):
    requests = []
    for hu in (hu for number in ASKED for hu in slices[number]):
        grey = np.clip((hu + 1000.0) / 1400.0, 0, 1) * 255
        picture = io.BytesIO()
        Image.fromarray(grey.astype(np.uint8)).save(picture, "PNG")
        requests.append(logged(IMAGE_BYTES, [picture.getvalue()]))
    result = check_serving_skew(workdir, [write_records(tmp_path / "log", requests)])
    assert result.counts == {"training": 48, "requests": 48, "unusable": 0}
    assert ct_example.CALIBRATED in features_of(result)


def test_slice_files_in_folders_are_requests_too(workdir, slices, tmp_path):
    for number in ASKED:
        patient = draw_patient(seed=2, number=number)
        (tmp_path / str(number)).mkdir()
        series = SeriesWriter(patient, 2, SIZE)
        for index, hu in enumerate(slices[number]):
            series.write(tmp_path / str(number) / f"{index}.dcm", index, hu)
    (tmp_path / "notes.txt").write_text("not a slice")
    result = check_serving_skew(workdir, [tmp_path])
    assert result.counts == {"training": 48, "requests": 48, "unusable": 1}
    # The training data above has no spacing, and files have.
    assert features_of(result) <= {ct_example.SPACING}


def test_a_clients_own_arithmetic_does_not_count(workdir, slices, tmp_path):
    examples = examples_of(slices, ASKED)
    for one in examples:
        one.features.feature[ct_example.MEAN_HU].float_list.value[:] = [3000.0]
        del one.features.feature[ct_example.NOISE]
    asked = write_records(tmp_path / "asked", [one.SerializeToString() for one in examples])
    assert check_serving_skew(workdir, [asked]).lines == ()


def test_what_holds_no_slice_is_counted_and_the_rest_is_compared(workdir, slices, tmp_path):
    examples = examples_of(slices, ASKED)
    without_scale, broken = (
        tf.train.Example.FromString(examples[0].SerializeToString()) for _ in range(2)
    )
    del without_scale.features.feature[ct_example.SLOPE]
    broken.features.feature[ct_example.IMAGE].bytes_list.value[:] = [b"\x89PNG\r\n\x1a\nno more"]
    records = [
        *(one.SerializeToString() for one in [without_scale, broken, *examples]),
        b"\xff\xff\xff",
        b"",
        logged("something else", [b"x"]),
        logged(IMAGE_BYTES, [b"no picture"]),
    ]
    cut = write_records(tmp_path / "cut", records, compression="")
    cut.write_bytes(cut.read_bytes()[:-3])
    result = check_serving_skew(workdir, [cut])
    # The last record is the one that was cut off.
    assert result.counts == {"training": 48, "requests": 48, "unusable": 6}
    assert result.lines == ()


def test_numbers_that_no_ct_has_are_told(workdir, slices, tmp_path):
    examples = examples_of(slices, ASKED, offset=30000.0)
    asked = write_records(tmp_path / "asked", [one.SerializeToString() for one in examples])
    lines = check_serving_skew(workdir, [asked]).lines
    assert any(line.startswith(f"{ct_example.MEAN_HU}: ") for line in lines)


def test_requests_are_compared_with_the_run_whose_model_is_served(slices, tmp_path):
    runs = Runs(tmp_path)
    examples = [one.SerializeToString() for one in examples_of(slices, ASKED)]
    asked = write_records(tmp_path / "asked", examples)
    runs.add(examples_of(slices, TRAINED), pushed=False)
    never_pushed = check_serving_skew(tmp_path, [asked])
    assert (never_pushed.model, never_pushed.lines) == (str(tmp_path / "model-1"), ())
    runs.add(examples_of(slices, TRAINED), pushed=True)
    runs.add(examples_of(slices, TRAINED, offset=80.0), pushed=False)
    pushed = check_serving_skew(tmp_path, [asked])
    assert (pushed.model, pushed.lines) == ("version 2", ())


def test_what_cannot_be_compared_ends_in_one_line(workdir, tmp_path):
    asked = tmp_path / "asked.gz"
    asked.write_bytes(gzip.compress(b"no records"))
    with pytest.raises(ConfigError, match="no run came to its end here"):
        check_serving_skew(tmp_path / "empty", [asked])
    with pytest.raises(ConfigError, match="no such file or folder"):
        check_serving_skew(workdir, [tmp_path / "nowhere"])
    with pytest.raises(BadDataError, match="none holds a slice"):
        check_serving_skew(workdir, [asked])


@pytest.mark.parametrize(
    ("there", "compared_with", "skewed"),
    [
        # The number of a rollback is new, and its model the first run's.
        ({1: 1, 2: 2, 3: 1}, "version 3", False),
        ({1: 1, 2: 2}, "version 2", True),
        # The folder of versions lies elsewhere, say.
        ({}, "version 2", True),
    ],
)
def test_the_model_that_is_served_now_is_what_counts(
    two_pushed, slices, there, compared_with, skewed
):
    root = two_pushed.root
    for number, run in there.items():
        two_pushed.export(root / "serving/ctnet" / str(number), run)
    asked = [one.SerializeToString() for one in examples_of(slices, ASKED)]
    result = check_serving_skew(root, [write_records(root / "asked", asked)])
    assert result.model == compared_with
    assert bool(result.features) == skewed
