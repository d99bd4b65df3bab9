"""Serving skew: whether a model is asked about images unlike those that it was trained on."""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import tfx.v1  # noqa: F401 before everything that imports TFDV or TFMA

# isort: split

import tensorflow as tf
import tensorflow_data_validation as tfdv
from apache_beam.options.pipeline_options import PipelineOptions
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from ml_metadata.proto import metadata_store_pb2
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tensorflow_serving.apis import prediction_log_pb2

from components.slice_validator.comparison import Comparator, compare
from components.slice_validator.drift import Difference
from components.slice_validator.span_statistics import whole_split
from pipeline.history.versions import VersionsThere
from pipeline.run_folder.outputs import StepOutputs, open_store
from pipeline.run_folder.workdir import Workdir
from pipeline.runners.beam_args import IN_PROCESS
from transform import ct_example
from transform.ct_example import StoredSlice
from transform.errors import BadDataError, ConfigError
from transform.hounsfield import decode_stored
from transform.prediction import EXAMPLES, IMAGE_BYTES
from transform.reading import (
    FoundSlice,
    ReadingSettings,
    SliceReader,
    UnusableSliceError,
    find_slices,
    parse_slice_pick,
)
from transform.reading.slice_file import FileKind, file_kind, read_head
from transform.schema import SCHEMA_FILE
from transform.slice_statistics import slice_statistics

REQUESTS = "requests"
TRAINING = "training"
UNUSABLE = "unusable"
"""Names in `SkewResult.counts`, the first also in `Difference.splits`."""

_SERVING = "SERVING"
_GZIP_MAGIC = b"\x1f\x8b"
_ENDED = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)


@dataclasses.dataclass(frozen=True)
class SkewResult:
    """How the images of requests compare with those of training.

    Attributes:
      lines: all that was found, for a person; none where the requests look like training data.
      features: what is distributed otherwise.
      counts: slices by `training`, `requests`, and `unusable` (requests that hold no slice).
      model: what was trained on that data: a version that was pushed, or a folder.
    """

    lines: tuple[str, ...]
    features: tuple[Difference, ...]
    counts: dict[str, int]
    model: str


@dataclasses.dataclass(frozen=True)
class _Training:
    """The run that requests are compared with."""

    statistics: statistics_pb2.DatasetFeatureStatisticsList
    window: tuple[float, float]
    model: str


def _steps_by_run(workdir: Workdir) -> Iterator[tuple[StepOutputs, metadata_store_pb2.Execution]]:
    """The runs that came to their end, the latest first, with the execution of their report."""
    store = open_store(workdir)
    types = {one.id: one.name.rpartition(".")[2] for one in store.get_execution_types()}
    reports = [
        execution
        for execution in store.get_executions()
        if types[execution.type_id] == "ReportGen" and execution.last_known_state in _ENDED
    ]
    for report in sorted(reports, key=lambda one: one.id, reverse=True):
        for context in store.get_contexts_by_execution(report.id):
            if context.type == "pipeline_run":
                steps = {
                    types[one.type_id]: one.id
                    for one in store.get_executions_by_context(context.id)
                    if one.last_known_state in _ENDED
                }
                yield StepOutputs(store, steps), report


def _version_of(outputs: StepOutputs, there: VersionsThere) -> str:
    """As which version a server takes up the run's model, or took it up; empty where never."""
    artifact = outputs.artifact("AtomicPusher", "pushed_model")
    properties = artifact.custom_properties
    if properties["pushed"].int_value != 1:
        return ""
    pushed = str(properties["pushed_version"].string_value)
    # A rollback publishes an earlier run's model under a new number.
    held = there.that_hold(Path(artifact.uri), pushed)
    return there.newest if there.newest is not None and there.newest in held else pushed


def _training(workdir: Workdir) -> _Training:
    """The run whose model a server takes up now; else the latest that pushed its model; else the
    latest that came to its end.

    Raises:
      ConfigError: there is none.
    """
    runs = list(_steps_by_run(workdir)) if workdir.metadata.exists() else []
    if not runs:
        raise ConfigError(f"{workdir.root}: no run came to its end here; start one with ctnet run")
    there = VersionsThere(workdir.serving)
    versions = [_version_of(outputs, there) for outputs, _ in runs]
    served = [number for number, version in enumerate(versions) if version == there.newest]
    pushing = [number for number, version in enumerate(versions) if version]
    number = (served or pushing or [0])[0]
    (outputs, report), version = runs[number], versions[number]
    model = f"version {version}" if version else str(outputs.folder("Trainer", "model"))
    folder = outputs.folder("StatisticsGen", "statistics") / f"Split-{ct_example.TRAIN}"
    settings = json.loads(report.custom_properties["settings"].string_value)
    low, high = settings["config"]["hounsfield"]["window"]
    statistics = whole_split(tfdv.load_stats_binary(str(folder / "FeatureStats.pb")))
    return _Training(statistics, (low, high), model)


class _Unusable(Exception):  # noqa: N818 caught where it is raised
    """A request that holds no slice."""


def _requested_slice(example: tf.train.Example) -> StoredSlice:
    """The slice of a CT example, as the model decodes it."""
    features = example.features.feature

    def number(name: str) -> float:
        return float(features[name].float_list.value[0])

    try:
        stored = decode_stored(features[ct_example.IMAGE].bytes_list.value[0]).numpy()[..., 0]
        return StoredSlice(
            stored.astype("uint16"),
            number(ct_example.SLOPE),
            number(ct_example.INTERCEPT),
            calibrated=bool(features[ct_example.CALIBRATED].int64_list.value[0]),
            spacing=number(ct_example.SPACING) if ct_example.SPACING in features else None,
        )
    except (IndexError, tf.errors.InvalidArgumentError) as error:
        raise _Unusable from error


def _from_log(record: bytes) -> tuple[str, list[bytes]]:
    """Which input a logged Predict request carried, and its values."""
    log = prediction_log_pb2.PredictionLog()
    try:
        log.ParseFromString(record)
    except DecodeError as error:
        raise _Unusable from error
    inputs = log.predict_log.request.inputs
    for name in (EXAMPLES, IMAGE_BYTES):
        if name in inputs:
            return name, [bytes(value) for value in tf.make_ndarray(inputs[name]).ravel()]
    raise _Unusable


def _is_example(record: bytes) -> bool:
    try:
        return ct_example.IMAGE in tf.train.Example.FromString(record).features.feature
    except DecodeError:
        return False


def _records(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        compressed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    yield from tf.data.TFRecordDataset(str(path), "GZIP" if compressed else "").as_numpy_iterator()


class _Requests:
    """Reads the slices of requests one at a time, and counts what holds none."""

    def __init__(self, window: tuple[float, float], scratch: Path):
        self._reader = SliceReader(ReadingSettings(window))
        self._scratch = scratch
        self.unusable = 0

    def of_files(self, files: Iterable[Path]) -> Iterator[tuple[StoredSlice, str]]:
        """Slices with the patient they are of, empty where nobody says it."""
        with self._reader:
            for file in files:
                try:
                    kind = file_kind(read_head(file))
                except UnusableSliceError:
                    self.unusable += 1
                    continue
                if kind is FileKind.UNKNOWN:
                    yield from self._of_records(file)
                else:
                    yield from self._of_slices(file)

    def _of_slices(self, file: Path) -> Iterator[tuple[StoredSlice, str]]:
        try:
            found = find_slices(file, parse_slice_pick("all"))
        except UnusableSliceError:
            self.unusable += 1
            return
        for one in found:
            try:
                yield self._reader.read(one).stored_slice, ""
            except UnusableSliceError:
                self.unusable += 1

    def _of_records(self, file: Path) -> Iterator[tuple[StoredSlice, str]]:
        empty = True
        try:
            for record in _records(file):
                empty = False
                yield from self._of_record(record)
        # No file of records, or one that was cut off.
        except tf.errors.DataLossError:
            self.unusable += 1
        else:
            # Nor is one that is too short for a record's head.
            self.unusable += empty

    def _of_record(self, record: bytes) -> Iterator[tuple[StoredSlice, str]]:
        try:
            name, values = (EXAMPLES, [record]) if _is_example(record) else _from_log(record)
        except _Unusable:
            self.unusable += 1
            return
        for value in values:
            try:
                yield self._of_example(value) if name == EXAMPLES else self._of_picture(value)
            except (_Unusable, UnusableSliceError, DecodeError):
                self.unusable += 1

    def _of_example(self, value: bytes) -> tuple[StoredSlice, str]:
        example = tf.train.Example.FromString(value)
        patients = example.features.feature[ct_example.PATIENT_ID].bytes_list.value
        return _requested_slice(example), patients[0].decode(errors="replace") if patients else ""

    def _of_picture(self, value: bytes) -> tuple[StoredSlice, str]:
        picture = self._scratch / "picture"
        # It would go on reading the file of before, if that was a volume.
        self._reader.close()
        picture.write_bytes(value)
        return self._reader.read(FoundSlice(picture)).stored_slice, ""


def _files(requests: Sequence[Path]) -> Iterator[Path]:
    for path in requests:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder of requests")
        if path.is_dir():
            yield from sorted(
                one for one in path.rglob("*") if one.is_file() and not one.name.startswith(".")
            )
        else:
            yield path


def _numbers_only(stored_slice: StoredSlice, patient_id: str) -> tf.train.Example:
    """What statistics are made of; computed from the pixels, whatever the client computed."""
    features: Mapping[str, tf.train.Feature] = {
        ct_example.PATIENT_ID: tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[patient_id.encode()])
        ),
        ct_example.CALIBRATED: tf.train.Feature(
            int64_list=tf.train.Int64List(value=[int(stored_slice.calibrated)])
        ),
        **{
            name: tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
            for name, value in slice_statistics(stored_slice).items()
        },
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def _breaches(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, schema: schema_pb2.Schema
) -> list[str]:
    """Where the requests' numbers leave the domains of the schema."""
    numbers = schema_pb2.Schema(default_environment=schema.default_environment)
    numbers.feature.extend(one for one in schema.feature if one.HasField(Comparator.SKEW.value))
    anomalies = tfdv.validate_statistics(statistics, numbers, environment=_SERVING)
    return [
        f"{name}: {info.description}"
        for name, info in sorted(anomalies.anomaly_info.items())
        if info.severity == anomalies_pb2.AnomalyInfo.ERROR and name != ct_example.PATIENT_ID
    ]


def check_serving_skew(workdir: Path, requests: Sequence[Path]) -> SkewResult:
    """Compare requests with the training split of the run whose model is served.

    After a rollback that is the earlier run. Where no version is there, it is the latest run that
    pushed its model, and where none did, the latest that came to its end. Requests are read one at
    a time.

    Args:
      workdir: the run's folder.
      requests: each a TFRecord file (gzipped or not) of CT examples or of TF Serving's
        PredictionLog, a slice file of any known format, or a folder of those.

    Raises:
      ConfigError: there is no such run, or no such request file.
      BadDataError: not one request holds a slice.
    """
    training = _training(Workdir(workdir.resolve()))
    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    files = list(_files(requests))
    counts = Counter({TRAINING: training.statistics.datasets[0].num_examples})
    with tempfile.TemporaryDirectory(prefix="ctnet-skew-") as folder:
        scratch = Path(folder)
        numbers = scratch / "numbers.tfrecord"
        reader = _Requests(training.window, scratch)
        with tf.io.TFRecordWriter(str(numbers)) as writer:
            for stored_slice, patient_id in reader.of_files(files):
                writer.write(_numbers_only(stored_slice, patient_id).SerializeToString())
                counts[REQUESTS] += 1
        counts[UNUSABLE] = reader.unusable
        if not counts[REQUESTS]:
            raise BadDataError(
                f"of {len(files)} files and {counts[UNUSABLE]} requests in them none holds a "
                "slice; give TFRecord files of CT examples or of TF Serving's PredictionLog, or "
                "slice files"
            )
        statistics = tfdv.generate_statistics_from_tfrecord(
            str(numbers), pipeline_options=PipelineOptions(list(IN_PROCESS))
        )
    found = compare(
        statistics,
        training.statistics,
        schema,
        Comparator.SKEW,
        (ct_example.TRAIN, REQUESTS),
        ("the requests", "the training data"),
    )
    lines = [*_breaches(statistics, schema), *(one.line for one in found)]
    for line in lines:
        logging.getLogger(__name__).warning("Skew: %s.", line)
    return SkewResult(tuple(lines), tuple(found), dict(counts), training.model)
