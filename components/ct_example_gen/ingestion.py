"""The Beam job of CTExampleGen: manifest rows in, TFRecord shards, quarantine and counts out.

The job is deterministic: a slice's shard is a hash of its id, and a shard is read, written and
finished by one worker in the order of the ids. No bundle holds more than one slice's pixels.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import apache_beam as beam
import tensorflow as tf

from components.ct_example_gen import outcome, quarantine
from components.ct_example_gen.manifest import ManifestRow, read_manifest, resolve_path
from components.ct_example_gen.quarantine import QuarantinedSlice
from components.ct_example_gen.splitting import SplitShares, hashed_split
from transform.ct_example import SPLITS, SliceFacts, StoredSlice, make_example
from transform.reading import Reason, UnusableSliceError, read_slice

SLICES_A_SHARD = 256
TEMPORARY = ".unfinished"

_QUARANTINED = "quarantined"
_COUNTED = "counted"

DROP_FROM_TRAIN = "drop_from_train"


@dataclasses.dataclass(frozen=True)
class IngestSettings:
    """What the job needs to know.

    Attributes:
      manifest: the manifest's path.
      window: HU of black and white in pictures that lost their Hounsfield units.
      root: folder outside of which no file is read, or None.
      shares: the split by hash; None where the manifest gives the split.
      on_leak: "drop_from_train" keeps a leaked patient in the last of its splits (test before
        eval before train) and quarantines the rest; other values leave it for the caller to
        judge.
      shards: number of TFRecord files a split.
    """

    manifest: str
    window: tuple[float, float]
    root: str | None
    shares: SplitShares | None
    on_leak: str
    shards: int


def _quarantine(row: ManifestRow, reason: Reason, detail: str) -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput(
        _QUARANTINED, QuarantinedSlice(row.image_id, row.path, reason.value, detail)
    )


def _file_of(row: ManifestRow, manifest: str) -> str:
    """One name for a row's file, however the manifest spells it."""
    return os.path.normpath(resolve_path(row, Path(manifest)))


def _keep_first_of_a_file(
    file_and_rows: tuple[str, Iterable[ManifestRow]],
) -> Iterator[ManifestRow | beam.pvalue.TaggedOutput]:
    first, *others = sorted(file_and_rows[1], key=lambda row: row.number)
    yield first
    for row in others:
        detail = f"row {row.number} names the file of row {first.number}"
        yield _quarantine(row, Reason.DUPLICATE_ID, detail)


def _check_cells(
    row: ManifestRow, settings: IngestSettings
) -> Iterator[ManifestRow | beam.pvalue.TaggedOutput]:
    """Pass rows whose cells can be used, with their split filled in."""
    if not row.path:
        yield _quarantine(row, Reason.MISSING_FILE, f"row {row.number} names no path")
    elif row.label not in ("0", "1"):
        detail = f"row {row.number} has label {row.label!r}; it must be 1 (positive) or 0"
        yield _quarantine(row, Reason.BAD_LABEL, detail)
    elif not row.patient_id:
        yield _quarantine(row, Reason.NO_PATIENT, f"row {row.number} names no patient_id")
    elif settings.shares is not None:
        split = hashed_split(row.patient_id, row.image_id, settings.shares)
        yield dataclasses.replace(row, split=split)
    elif row.split not in SPLITS:
        detail = f"row {row.number} has split {row.split!r}; it must be one of {', '.join(SPLITS)}"
        yield _quarantine(row, Reason.BAD_SPLIT, detail)
    else:
        yield row


def _find_leaks(
    patient_and_rows: tuple[str, Iterable[ManifestRow]], settings: IngestSettings
) -> Iterator[ManifestRow | beam.pvalue.TaggedOutput]:
    rows = list(patient_and_rows[1])
    splits = sorted({row.split for row in rows})
    if len(splits) > 1:
        yield beam.pvalue.TaggedOutput(_COUNTED, (outcome.LEAK, "+".join(splits), ""))
    # The operating point and early stopping are fitted on eval, so that for test eval is training.
    last = max(splits, key=SPLITS.index)
    for row in rows:
        if row.split != last and settings.on_leak == DROP_FROM_TRAIN:
            others = " and ".join(split for split in splits if split != row.split)
            detail = f"patient {row.patient_id} also stands in {others}"
            yield _quarantine(row, Reason.LEAKED_PATIENT, detail)
        else:
            yield row


def _shard_of(row: ManifestRow, shards: int) -> tuple[str, int]:
    digest = hashlib.sha256(row.image_id.encode()).digest()
    return row.split, int.from_bytes(digest[:8]) % shards


def _read_row(row: ManifestRow, settings: IngestSettings) -> StoredSlice:
    path = resolve_path(row, Path(settings.manifest))
    if settings.root is not None:
        # What is read is what was checked, whatever a link on the way becomes in between.
        resolved = path.resolve()
        if not resolved.is_relative_to(Path(settings.root).resolve()):
            raise UnusableSliceError(Reason.OUTSIDE_ROOT, f"{path} is outside of {settings.root}")
        path = resolved
    return read_slice(path, settings.window)


def _facts(row: ManifestRow) -> SliceFacts:
    try:
        age = float(row.age)
    except ValueError:
        age = math.nan
    return SliceFacts(
        image_id=row.image_id,
        patient_id=row.patient_id,
        source=row.source,
        label=int(row.label),
        # Spreadsheets and pandas write an unknown number as "nan".
        age=age if math.isfinite(age) else None,
        sex=row.sex or None,
        study_date=row.study_date or None,
    )


class _WriteShard(beam.DoFn):
    """Read the slices of a shard and write them as one gzipped TFRecord file."""

    def __init__(self, settings: IngestSettings, examples_uri: str):
        self._settings = settings
        self._examples_uri = examples_uri

    def process(
        self, shard_and_rows: tuple[tuple[str, int], Iterable[ManifestRow]]
    ) -> Iterator[beam.pvalue.TaggedOutput]:
        (split, shard), rows = shard_and_rows
        folder = f"{self._examples_uri}/Split-{split}"
        unfinished = f"{self._examples_uri}/{TEMPORARY}/{uuid.uuid4().hex}"
        tf.io.gfile.makedirs(folder)
        tf.io.gfile.makedirs(f"{self._examples_uri}/{TEMPORARY}")
        written = 0
        with tf.io.TFRecordWriter(unfinished, tf.io.TFRecordOptions("GZIP")) as writer:
            for row in sorted(rows, key=lambda row: row.image_id):
                try:
                    stored_slice = _read_row(row, self._settings)
                except UnusableSliceError as error:
                    yield _quarantine(row, error.reason, error.detail)
                    continue
                # A damaged file must never stop a run, whatever its decoder makes of it.
                except Exception as error:
                    line = " ".join(f"{type(error).__name__}: {error}".split())
                    yield _quarantine(row, Reason.UNREADABLE, f"{row.path}: {line}")
                    continue
                writer.write(make_example(stored_slice, _facts(row)).SerializeToString())
                written += 1
                yield beam.pvalue.TaggedOutput(_COUNTED, (outcome.ACCEPTED, split, row.label))
        if written:
            name = f"data_tfrecord-{shard:05d}-of-{self._settings.shards:05d}.gz"
            tf.io.gfile.rename(unfinished, f"{folder}/{name}", overwrite=True)
        else:
            tf.io.gfile.remove(unfinished)


def ingest(
    pipeline: beam.Pipeline, settings: IngestSettings, *, examples_uri: str, quarantine_uri: str
) -> None:
    """Add the job to a Beam pipeline.

    Args:
      pipeline: the pipeline to add to.
      settings: what the job needs to know.
      examples_uri: folder of the Examples artifact; gets `Split-<name>/data_tfrecord-*.gz`.
      quarantine_uri: folder of the Quarantine artifact; gets `quarantine.jsonl` and
        `counts.jsonl`.
    """
    checked = (
        pipeline
        | "Manifest" >> beam.Create([settings.manifest])
        | "ReadRows" >> beam.FlatMap(lambda path: read_manifest(Path(path)))
        | "CheckCells"
        >> beam.FlatMap(_check_cells, settings).with_outputs(_QUARANTINED, main="rows")
    )
    unique = (
        checked.rows
        | "KeyByFile" >> beam.WithKeys(_file_of, settings.manifest)
        | "GroupByFile" >> beam.GroupByKey()
        | "KeepFirstOfAFile"
        >> beam.FlatMap(_keep_first_of_a_file).with_outputs(_QUARANTINED, main="rows")
    )
    disjoint = (
        unique.rows
        | "KeyByPatient" >> beam.WithKeys(lambda row: row.patient_id)
        | "GroupByPatient" >> beam.GroupByKey()
        | "FindLeaks"
        >> beam.FlatMap(_find_leaks, settings).with_outputs(_QUARANTINED, _COUNTED, main="rows")
    )
    written = (
        disjoint.rows
        | "KeyByShard" >> beam.WithKeys(_shard_of, settings.shards)
        | "GroupByShard" >> beam.GroupByKey()
        | "WriteShards"
        >> beam.ParDo(_WriteShard(settings, examples_uri)).with_outputs(_QUARANTINED, _COUNTED)
    )
    quarantined = [
        branch[_QUARANTINED] for branch in (unique, checked, disjoint, written)
    ] | "AllQuarantined" >> beam.Flatten()
    _ = (
        quarantined
        | "QuarantineToJson" >> beam.Map(QuarantinedSlice.to_json)
        | "WriteQuarantine"
        >> beam.io.WriteToText(
            f"{quarantine_uri}/{quarantine.FILE_NAME}", num_shards=1, shard_name_template=""
        )
    )
    counted_quarantined = quarantined | "CountReasons" >> beam.Map(
        lambda one: (outcome.QUARANTINED, one.reason, "")
    )
    _ = (
        [disjoint[_COUNTED], written[_COUNTED], counted_quarantined]
        | "AllCounted" >> beam.Flatten()
        | "Count" >> beam.combiners.Count.PerElement()
        | "CountToJson" >> beam.Map(lambda counted: json.dumps([*counted[0], counted[1]]))
        | "WriteCounts"
        >> beam.io.WriteToText(
            f"{quarantine_uri}/{outcome.FILE_NAME}", num_shards=1, shard_name_template=""
        )
    )
