"""The Beam job of CTExampleGen: manifests in; examples, quarantine and findings out.

Read every slice (`read_shards`), find near-identical ones (`near_duplicates`), decide which split
each belongs to (`grouping`), and give the examples to their splits (`example_shards`). The job is
deterministic: a row's shard is a hash of its path, and a shard is read, written and finished by
one worker in one order. No bundle holds more than one slice's pixels.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam

from components.ct_example_gen import findings, grouping, outcome, quarantine
from components.ct_example_gen.augmented_copies import AugmentedCopies, copies_of_example
from components.ct_example_gen.checked_rows import CheckedRow, ReadCheckedRows
from components.ct_example_gen.example_shards import distribute
from components.ct_example_gen.manifest import ManifestFacts, ManifestRow
from components.ct_example_gen.near_duplicates.search import FindNearDuplicates
from components.ct_example_gen.quarantine import QuarantinedSlice, json_line
from components.ct_example_gen.read_shards import FINGERPRINTS, ReadShard
from components.ct_example_gen.settings import IngestSettings, SplitBy
from components.ct_example_gen.slice_record import COUNTED, QUARANTINED, SliceRecord
from components.ct_example_gen.spans import ManifestFile

ROWS_A_SHARD = 256
BYTES_A_SHARD = 128 * 2**20


@dataclasses.dataclass(frozen=True)
class IngestInput:
    """What a job reads.

    Attributes:
      manifests: read by the workers.
      rows: instead of manifests, for an inspection of files without one.
      shards: into how many parts the rows are cut.
      split_by: where the splits come from.
      labelled: whether every row must name a label and a patient.
    """

    manifests: Sequence[ManifestFile]
    shards: int
    split_by: SplitBy
    rows: Sequence[ManifestRow] = ()
    labelled: bool = True


def count_shards(facts: ManifestFacts) -> int:
    """How many parts to cut the rows into: small ones by number, volumes by their bytes."""
    by_bytes = math.ceil(facts.bytes / BYTES_A_SHARD)
    return max(1, math.ceil(facts.rows / ROWS_A_SHARD), min(by_bytes, facts.rows))


def _shard_of(row: CheckedRow, shards: int) -> int:
    digest = hashlib.sha256(row.cells.path.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) % shards


def _give_to_splits(
    shard_and_records: tuple[int, Iterable[SliceRecord]],
    shards: int,
    temporary_uri: str,
    examples_uri: str,
    copies: AugmentedCopies | None,
) -> Iterator[tuple[str, str, str]]:
    shard, records = shard_and_records
    splits = {}
    counts: collections.Counter[str] = collections.Counter()
    for record in records:
        if record.id in splits:
            raise RuntimeError(f"shard {shard}: two slices are called {record.id}")
        splits[record.id] = record.split
        counts[record.copy_of] += 1
        yield outcome.ACCEPTED, record.split, record.label
    place = functools.partial(distribute, temporary_uri, examples_uri, shard, shards, splits)
    if copies is None:
        place()
    else:
        place(lambda one, example: copies_of_example(one, example, counts[one], copies))


def _to_accepted(record: SliceRecord) -> str:
    values = {
        "id": record.id,
        "path": record.path,
        "frame": record.frame,
        "label": int(record.label) if record.label else None,
        "split": record.split,
        "patient_id": record.patient_id,
        **(record.facts or {}),
    }
    return json_line(values)


def _write_lines(lines: beam.PCollection, path: str, label: str) -> None:
    _ = lines | label >> beam.io.WriteToText(path, num_shards=1, shard_name_template="")


def ingest(
    pipeline: beam.Pipeline,
    settings: IngestSettings,
    source: IngestInput,
    *,
    key_reference: str | None,
    findings_uri: str,
    temporary_uri: str,
    examples_uri: str | None,
) -> None:
    """Add the job to a Beam pipeline.

    Args:
      pipeline: the pipeline to add to.
      settings: what to do with what is found.
      source: what to read.
      key_reference: where the key of the patient ids' hashes is (see `patient_ids.load_key`), None
        where ids are kept. It must exist.
      findings_uri: folder that gets `quarantine.jsonl`, `duplicates.jsonl`, `leaks.jsonl` and
        `counts.jsonl`.
      temporary_uri: folder of what one step leaves for another; the caller removes it afterwards.
      examples_uri: folder of the Examples artifact, gets `Split-<name>/data_tfrecord-*.gz`; None
        for an inspection, which lists the slices in `accepted.jsonl` of the findings instead.
    """
    rows, unusable_rows = pipeline | "CheckRows" >> ReadCheckedRows(
        source.manifests,
        source.rows,
        source.split_by is SplitBy.MANIFEST,
        settings.reference is not None,
        source.labelled,
        key_reference,
    )
    read = (
        rows
        | "KeyByShard" >> beam.WithKeys(_shard_of, source.shards)
        | "GroupByShard" >> beam.GroupByKey()
        | "ReadShards"
        >> beam.ParDo(
            ReadShard(
                settings,
                temporary_uri=temporary_uri,
                key_reference=key_reference,
                with_examples=examples_uri is not None,
            )
        ).with_outputs(QUARANTINED, COUNTED, FINGERPRINTS, main="records")
    )
    pairs = read[FINGERPRINTS] | "FindNearDuplicates" >> FindNearDuplicates(temporary_uri)
    # An inspection is about the slices as they came.
    copies = settings.augment_first if examples_uri is not None else None
    decided = grouping.decide(
        read.records,
        pairs,
        settings,
        source.split_by,
        examples_per_class=copies.examples_per_class if copies else None,
    )
    if examples_uri is None:
        accepted = decided["records"]
        _write_lines(
            accepted | "AcceptedToJson" >> beam.Map(_to_accepted),
            f"{findings_uri}/{findings.ACCEPTED_FILE}",
            "WriteAccepted",
        )
        counted_accepted = accepted | "CountAccepted" >> beam.Map(
            lambda one: (outcome.ACCEPTED, one.split, one.label)
        )
    else:
        counted_accepted = (
            decided["records"]
            | "KeyByPending" >> beam.WithKeys(lambda one: one.shard)
            | "GroupByPending" >> beam.GroupByKey()
            | "GiveToSplits"
            >> beam.FlatMap(_give_to_splits, source.shards, temporary_uri, examples_uri, copies)
        )
    quarantined = (
        unusable_rows,
        read[QUARANTINED],
        decided[QUARANTINED],
    ) | "AllQuarantined" >> beam.Flatten()
    _write_lines(
        quarantined | "QuarantineToJson" >> beam.Map(QuarantinedSlice.to_json),
        f"{findings_uri}/{quarantine.FILE_NAME}",
        "WriteQuarantine",
    )
    for tag, file in (
        (grouping.DUPLICATES, findings.DUPLICATES_FILE),
        (grouping.LEAKS, findings.LEAKS_FILE),
    ):
        _write_lines(
            decided[tag] | f"{tag}ToJson" >> beam.Map(lambda one: one.to_json()),
            f"{findings_uri}/{file}",
            f"Write{tag}",
        )
    counted_rows = unusable_rows | "CountUnusableRows" >> beam.FlatMap(
        lambda _: [(outcome.ROW, "", ""), (outcome.INPUT, "", "")]
    )
    counted_quarantined = quarantined | "CountReasons" >> beam.Map(
        lambda one: (outcome.QUARANTINED, one.reason, "")
    )
    counts = (
        (
            read[COUNTED],
            decided[COUNTED],
            counted_rows,
            counted_accepted,
            counted_quarantined,
        )
        | "AllCounted" >> beam.Flatten()
        | "Count" >> beam.combiners.Count.PerElement()
        | "CountToJson" >> beam.Map(lambda counted: json.dumps([*counted[0], counted[1]]))
    )
    _write_lines(counts, f"{findings_uri}/{outcome.FILE_NAME}", "WriteCounts")
