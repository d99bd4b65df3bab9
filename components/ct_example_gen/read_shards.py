"""Reading: every slice of a shard's rows becomes an example, or goes to quarantine."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam

from components.ct_example_gen import outcome
from components.ct_example_gen.checked_rows import CheckedRow
from components.ct_example_gen.example_shards import pending_path, written_whole
from components.ct_example_gen.near_duplicates.fingerprint import fingerprint
from components.ct_example_gen.near_duplicates.fingerprint_store import FingerprintWriter
from components.ct_example_gen.near_duplicates.search import FingerprintedSlice
from components.ct_example_gen.patient_ids import load_key, pseudonym
from components.ct_example_gen.settings import KEEP, IngestSettings
from components.ct_example_gen.slice_record import COUNTED, SliceRecord, to_quarantine
from components.ct_example_gen.splitting import split_digest
from transform.ct_example import TEST, SliceFacts, make_example
from transform.reading import (
    FoundSlice,
    MachineFaultError,
    ReadingSettings,
    Reason,
    SliceReader,
    SliceReading,
    UnusableSeriesError,
    UnusableSliceError,
    find_slices,
)
from transform.reading.slice_pick import parse_slice_pick
from transform.slice_statistics import (
    HEIGHT,
    LUNG_FRACTION,
    SPACING,
    WIDTH,
    slice_statistics,
)

FINGERPRINTS = "fingerprints"
"""Tag of what near-duplicates are found by."""


def _number(text: str) -> float | None:
    """A number of a manifest; spreadsheets and pandas write an unknown one as "nan"."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _member(row: CheckedRow, found: FoundSlice) -> tuple[str, str]:
    """Id of a slice, and its file as the manifest writes it."""
    inside, _, _ = found.name.partition("#")
    return row.cells.path + found.name, row.cells.path + inside


class ReadShard(beam.DoFn):
    """Read the slices of a shard's rows, one at a time.

    Takes `(shard, rows)`; yields SliceRecord, and tagged: FingerprintedSlice, QuarantinedSlice and
    counts. Fingerprints are left in the temporary folder (see `fingerprint_store`), and where
    examples are wanted, they are too, as the shard's pending file (see `example_shards`).
    """

    def __init__(
        self,
        settings: IngestSettings,
        *,
        temporary_uri: str,
        key_reference: str | None,
        with_examples: bool,
    ):
        """Describe the reading.

        Args:
          settings: of the ingestion.
          temporary_uri: folder of what waits for the next steps.
          key_reference: where the key of the patient ids' hashes is, None where ids are kept; the
            key itself would travel with the job.
          with_examples: whether examples are wanted; else records carry what `accepted.jsonl`
            lists.
        """
        self._settings = settings
        self._temporary_uri = temporary_uri
        self._key_reference = key_reference
        self._key: bytes | None = None
        self._with_examples = with_examples
        self._pick = parse_slice_pick(settings.slices)
        self._reading = ReadingSettings(settings.window, refuse_marks=settings.on_marks != KEEP)

    def setup(self) -> None:
        """Fetch the key."""
        if self._key_reference is not None:
            self._key = load_key(self._key_reference)

    def process(self, shard_and_rows: tuple[int, Iterable[CheckedRow]]) -> Iterator[Any]:
        """Read one shard."""
        shard, rows = shard_and_rows
        in_order = sorted(rows, key=lambda row: row.cells.path)
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(FingerprintWriter(self._temporary_uri, shard))
            writer = None
            if self._with_examples:
                pending = pending_path(self._temporary_uri, shard)
                writer = stack.enter_context(written_whole(pending, self._temporary_uri))
            yield from self._read_rows(in_order, shard, store, writer)

    def _read_rows(
        self, rows: Iterable[CheckedRow], shard: int, store: FingerprintWriter, writer: Any
    ) -> Iterator[Any]:
        with SliceReader(self._reading) as reader:
            for row in rows:
                yield beam.pvalue.TaggedOutput(COUNTED, (outcome.ROW, "", ""))
                for found in self._find(row):
                    yield beam.pvalue.TaggedOutput(COUNTED, (outcome.INPUT, "", ""))
                    if isinstance(found, beam.pvalue.TaggedOutput):
                        yield found
                    else:
                        yield from self._read(row, found, shard, reader, store, writer)

    def _find(self, row: CheckedRow) -> Iterator[FoundSlice | beam.pvalue.TaggedOutput]:
        """The slices that a row names, or what becomes of the row where they cannot be told."""
        path = row.cells.path
        try:
            file = self._inside_root(Path(row.cells.file))
            yield from find_slices(file, self._pick)
        except UnusableSeriesError as error:
            for found in error.members:
                slice_id, member = _member(row, found)
                yield to_quarantine(slice_id, member, error.reason, error.detail, found.frame)
        except UnusableSliceError as error:
            yield to_quarantine(path, path, error.reason, error.detail)
        except MachineFaultError:
            raise
        # A damaged file must never stop a run, whatever its decoder makes of it.
        except Exception as error:
            yield to_quarantine(path, path, Reason.UNREADABLE, _damaged(path, error))

    def _inside_root(self, path: Path) -> Path:
        """The path, links resolved where there is a root, so that what is checked is what is read.

        Raises:
          UnusableSliceError: it leads out of the root.
        """
        if self._settings.root is None:
            return path
        try:
            resolved = path.resolve()
        # ValueError: no system takes the name for one of a file; OSError: links in a circle.
        except (OSError, ValueError, RuntimeError):
            return path
        if not resolved.is_relative_to(Path(self._settings.root).resolve()):
            raise UnusableSliceError(
                Reason.OUTSIDE_ROOT, f"{path} is outside of {self._settings.root}"
            )
        return resolved

    def _read(
        self,
        row: CheckedRow,
        found: FoundSlice,
        shard: int,
        reader: SliceReader,
        store: FingerprintWriter,
        writer: Any,
    ) -> Iterator[Any]:
        slice_id, path = _member(row, found)
        try:
            inside = dataclasses.replace(found, path=self._inside_root(found.path))
            reading = reader.read(inside)
            statistics = slice_statistics(reading.stored_slice)
            self._refuse_little_lung(statistics, path)
            record = self._record(row, slice_id, path, found.frame, shard, reading, statistics)
            seen = fingerprint(reading.stored_slice)
        except UnusableSliceError as error:
            yield to_quarantine(slice_id, path, error.reason, error.detail, found.frame)
            return
        except MachineFaultError:
            raise
        except Exception as error:  # as above
            detail = _damaged(path, error)
            yield to_quarantine(slice_id, path, Reason.UNREADABLE, detail, found.frame)
            return
        # What fails from here on, a full disk for one, is not the slice's fault.
        if writer is not None:
            facts = _slice_facts(row, record)
            example = make_example(reading.stored_slice, facts, statistics)
            writer.write(slice_id.encode())
            # Else the order of the features is another in every process.
            writer.write(example.SerializeToString(deterministic=True))
        yield record
        place = store.add(slice_id, seen)
        yield beam.pvalue.TaggedOutput(
            FINGERPRINTS, FingerprintedSlice(slice_id, reading.file.series, seen, place)
        )

    def _refuse_little_lung(self, statistics: dict[str, float], path: str) -> None:
        share, least = statistics[LUNG_FRACTION], self._settings.min_lung_fraction
        if share < least:
            raise UnusableSliceError(
                Reason.LITTLE_LUNG,
                f"{path} shows {share:.1%} of lung; ingest.min_lung_fraction is {least:g}",
            )

    def _record(
        self,
        row: CheckedRow,
        slice_id: str,
        path: str,
        frame: int | None,
        shard: int,
        reading: SliceReading,
        statistics: dict[str, float],
    ) -> SliceRecord:
        patient_id, digest = row.cells.patient_id, row.patient_digest
        if not digest:
            of_header = reading.file.patient_id
            digest = split_digest(of_header or slice_id)
            if of_header:
                patient_id = pseudonym(of_header, self._key) if self._key else of_header
        return SliceRecord(
            id=slice_id,
            path=path,
            frame=frame,
            shard=shard,
            label=row.cells.label,
            split=TEST if row.cells.reference else row.cells.split,
            patient_id=patient_id,
            patient_digest=digest,
            reference=row.cells.reference,
            facts=_facts_to_list(row, reading, statistics) if not self._with_examples else None,
        )


def _damaged(path: str, error: Exception) -> str:
    # The error's own words may hold what a header holds.
    return f"{path} is damaged: its reading ended in {type(error).__name__}"


def _slice_facts(row: CheckedRow, record: SliceRecord) -> SliceFacts:
    return SliceFacts(
        image_id=record.id,
        patient_id=record.patient_id,
        source=row.cells.source,
        label=int(record.label) if record.label else None,
        age=_number(row.cells.age),
        sex=row.cells.sex or None,
        study_date=row.cells.study_date or None,
        span=int(row.cells.span) if row.cells.span else None,
    )


def _facts_to_list(
    row: CheckedRow, reading: SliceReading, statistics: dict[str, float]
) -> dict[str, Any]:
    height, width = reading.stored_slice.stored.shape
    return {
        "source": row.cells.source,
        "format": reading.file.format,
        "mode": reading.file.mode,
        "bytes": reading.file.bytes,
        "height": height,
        "width": width,
        "spacing": reading.stored_slice.spacing,
        "calibrated": reading.stored_slice.calibrated,
        **{
            name.removeprefix("stats/"): value
            for name, value in statistics.items()
            if name not in (HEIGHT, WIDTH, SPACING)
        },
    }
