"""Reading: the slices of a shard's rows become batches to ask about, or go to quarantine."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam

from components.ct_example_gen.patient_ids import load_key, pseudonym
from components.ct_example_gen.quarantine import QuarantinedSlice
from pipeline.scoring.scored_slice import (
    COUNTED,
    Place,
    PlacedInQuarantine,
    ReadSlice,
    SliceName,
)
from pipeline.scoring.scoring_rows import ScoringRow
from serving.input_slices import InputSlice
from serving.message_size import MAX_MESSAGE_BYTES
from serving.slice_payload import PayloadReader, SlicePayload
from transform.prediction import PREDICT_IMAGE
from transform.reading import (
    FoundSlice,
    MachineFaultError,
    ReadingSettings,
    Reason,
    SliceReader,
    UnusableSeriesError,
    UnusableSliceError,
    find_slices,
    parse_slice_pick,
)


@dataclasses.dataclass(frozen=True)
class ScoringSettings:
    """How slices are found and read; they travel to the workers.

    Attributes:
      slices: which slices a volume or series gives: "all", "every:N" or "middle:N".
      window: HU of black and white that pictures are checked under; what the model takes them for
        is the model's.
      refuse_marks: whether coloured marks over a slice make it unusable.
      root: folder outside of which no file is read, or None.
      patient_key: where the key of the patient ids' hashes is (see `patient_ids.load_key`); None
        keeps the ids as they are.
      batch_size: the most slices that the model is asked about at once.
    """

    slices: str
    window: tuple[float, float]
    refuse_marks: bool
    root: str | None
    patient_key: str | None
    batch_size: int


class ReadSlices(beam.DoFn):
    """Read the slices of a shard's rows, one at a time, as the client reads them.

    Takes `(shard, rows)`; yields lists of ReadSlice of one signature, at most a batch, and tagged:
    PlacedInQuarantine and counts. Which slices share a batch depends on the shard alone, so that
    answers are the same to the last bit however many workers there are.
    """

    def __init__(self, settings: ScoringSettings):
        self._settings = settings
        self._key: bytes | None = None

    def setup(self) -> None:
        """Fetch the key of the patient ids."""
        if self._settings.patient_key is not None:
            self._key = load_key(self._settings.patient_key)

    def process(self, shard_and_rows: tuple[int, Iterable[ScoringRow]]) -> Iterator[Any]:
        """Read one shard."""
        shard, rows = shard_and_rows
        checks = ReadingSettings(self._settings.window, self._settings.refuse_marks)
        with PayloadReader(MAX_MESSAGE_BYTES) as payloads, SliceReader(checks) as pictures:
            readers = _Readers(payloads, pictures)
            batches: dict[str, list[ReadSlice]] = {}
            read_rows = slices = 0
            for row in sorted(rows, key=lambda one: one.position):
                read_rows += 1
                for one in self._read_row(row, shard, slices, readers):
                    slices += 1
                    if isinstance(one, PlacedInQuarantine):
                        yield one.tagged()
                        continue
                    batch = batches.setdefault(one.signature, [])
                    batch.append(one)
                    if len(batch) == self._settings.batch_size:
                        yield batches.pop(one.signature)
            yield from batches.values()
        yield beam.pvalue.TaggedOutput(COUNTED, (read_rows, slices))

    def _read_row(
        self, row: ScoringRow, shard: int, begun: int, readers: _Readers
    ) -> Iterator[ReadSlice | PlacedInQuarantine]:
        """The slices of a row; those that tell no patient come last, when the others have."""
        known = self._shown(row.patient_id) if row.patient_id else ""
        patients = set()
        of_nobody = []
        for number, found in enumerate(self._find(row), start=begun):
            place = (shard, number)
            outcome = (
                self._read(row, found, place, known, readers)
                if isinstance(found, FoundSlice)
                else found
            )
            if isinstance(outcome, ReadSlice):
                patients.add(outcome.name.patient)
                yield outcome
            elif known:
                yield PlacedInQuarantine(place, known, outcome)
            else:
                of_nobody.append((place, outcome))
        owner = patients.pop() if len(patients) == 1 else row.path
        for place, outcome in of_nobody:
            yield PlacedInQuarantine(place, owner, outcome)

    def _find(self, row: ScoringRow) -> Iterator[FoundSlice | QuarantinedSlice]:
        path = row.path
        if row.refused is not None:
            yield QuarantinedSlice(path, path, row.refused.value, row.detail)
            return
        try:
            file = self._inside_root(Path(row.file))
            yield from find_slices(file, parse_slice_pick(self._settings.slices))
        except UnusableSeriesError as error:
            for found in error.members:
                yield _quarantined(row, found, error.reason, error.detail)
        except UnusableSliceError as error:
            yield QuarantinedSlice(path, path, error.reason.value, error.detail)
        except MachineFaultError:
            raise
        # A damaged file must never stop a run, whatever its decoder makes of it.
        except Exception as error:
            yield QuarantinedSlice(path, path, Reason.UNREADABLE.value, _damaged(path, error))

    def _read(
        self, row: ScoringRow, found: FoundSlice, place: Place, known: str, readers: _Readers
    ) -> ReadSlice | QuarantinedSlice:
        try:
            inside = dataclasses.replace(found, path=self._inside_root(found.path))
            payload = readers.read(InputSlice(Path(row.file), inside))
        except UnusableSliceError as error:
            return _quarantined(row, found, error.reason, error.detail)
        except MachineFaultError:
            raise
        except Exception as error:  # as above
            detail = _damaged(_id(row, found), error)
            return _quarantined(row, found, Reason.UNREADABLE, detail)
        patient = known
        if not patient:
            patient = self._shown(payload.patient.id) if payload.patient.in_header else row.path
        number = None if found.frame is None else found.frame + 1
        name = SliceName(place, _id(row, found), _file(row, found), number, patient, row.label)
        return ReadSlice(name, payload.signature, payload.value)

    def _shown(self, patient_id: str) -> str:
        return patient_id if self._key is None else pseudonym(patient_id, self._key)

    def _inside_root(self, path: Path) -> Path:
        """The path, links resolved where there is a root, so that what is checked is what is read.

        Raises:
          UnusableSliceError: it leads out of the root.
        """
        if self._settings.root is None:
            return path
        root = Path(self._settings.root).resolve()
        resolved = path
        # No system takes the name for one of a file, or links lead in a circle: reading says so.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            resolved = path.resolve()
        if not resolved.is_relative_to(root):
            raise UnusableSliceError(Reason.OUTSIDE_ROOT, f"{path} is outside of {root}")
        return resolved


@dataclasses.dataclass
class _Readers:
    """What is kept open from one slice to the next."""

    payloads: PayloadReader
    pictures: SliceReader

    def read(self, input_slice: InputSlice) -> SlicePayload:
        payload = self.payloads.read(input_slice)
        # The client leaves it to the server to decode a picture; an ingestion would have looked.
        if payload.signature == PREDICT_IMAGE:
            self.pictures.read(input_slice.found)
        return payload


def _id(row: ScoringRow, found: FoundSlice) -> str:
    # The folder that was asked for has no name of its own.
    return f"{row.path}{found.name}" if row.path != "." else found.name.lstrip("/")


def _file(row: ScoringRow, found: FoundSlice) -> str:
    inside = dataclasses.replace(found, name=found.name.partition("#")[0])
    return _id(row, inside)


def _quarantined(
    row: ScoringRow, found: FoundSlice, reason: Reason, detail: str
) -> QuarantinedSlice:
    return QuarantinedSlice(_id(row, found), _file(row, found), reason.value, detail, found.frame)


def _damaged(path: str, error: Exception) -> str:
    # The error's own words may hold what a header holds.
    return f"{path} is damaged: its reading ended in {type(error).__name__}"
