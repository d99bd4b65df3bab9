"""Scored slice: what becomes of a slice, from its reading to its answer."""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam

from components.ct_example_gen.quarantine import QuarantinedSlice

QUARANTINED = "quarantined"
"""Tag of PlacedInQuarantine."""

COUNTED = "counted"
"""Tag of what was taken from a shard: (rows, slices)."""

Place = tuple[int, int]
"""Shard, and which slice of the shard from 0: the order of all results."""

SLICES_A_PART = 1024

Part = tuple[int, int]
"""A run of places: shard, and which part of it."""


def part_of(place: Place) -> Part:
    """The part that a place is in; no part is larger than `SLICES_A_PART`."""
    shard, number = place
    return shard, number // SLICES_A_PART


@dataclasses.dataclass(frozen=True)
class SliceName:
    """What results say of a slice besides its answer.

    Attributes:
      place: in the order of results.
      id: its row's path; in a folder with the file's name, in a volume with the slice's number.
      path: the file that holds it.
      number: which slice of its file, from 1; None for a file of one slice.
      patient: whose it is, as results call the patient.
      label: as the manifest writes it.
    """

    place: Place
    id: str
    path: str
    number: int | None
    patient: str
    label: str = ""


@dataclasses.dataclass(frozen=True)
class ReadSlice:
    """A slice that can be asked about.

    Attributes:
      name: of the slice.
      signature: of the model, to ask.
      value: the bytes that the signature takes.
    """

    name: SliceName
    signature: str
    value: bytes


@dataclasses.dataclass(frozen=True)
class ScoredSlice:
    """What the model says of a slice: see `transform.prediction`."""

    name: SliceName
    probability: float
    decision: int
    threshold: float

    def to_record(self, version: str) -> dict[str, Any]:
        """The slice's row, by the columns of `result_files`."""
        return {
            "id": self.name.id,
            "path": self.name.path,
            "slice": self.name.number,
            "patient_id": self.name.patient,
            "probability": self.probability,
            "decision": self.decision,
            "threshold": self.threshold,
            "version": version,
            "label": self.name.label or None,
        }


@dataclasses.dataclass(frozen=True)
class PlacedInQuarantine:
    """A slice without an answer, and where in the order of results it would be."""

    place: Place
    patient: str
    slice: QuarantinedSlice

    def tagged(self) -> beam.pvalue.TaggedOutput:
        """The output that puts the slice into quarantine."""
        return beam.pvalue.TaggedOutput(QUARANTINED, self)
