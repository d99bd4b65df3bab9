"""What the job knows of a slice once its pixels are read: small, for pixels do not travel."""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam

from components.ct_example_gen.quarantine import QuarantinedSlice
from transform.reading import Reason

QUARANTINED = "quarantined"
"""Tag of what goes to quarantine."""

COUNTED = "counted"
"""Tag of what is counted: tuples of strings, (kind, ...)."""


@dataclasses.dataclass(frozen=True)
class SliceRecord:
    """One readable slice.

    Attributes:
      id: what the slice is called everywhere: its path as the manifest writes it, and in a folder
        or volume which slice of it.
      path: the file that holds it, as the manifest writes it.
      frame: which slice of its file, from 0; None for a file of one slice.
      shard: which shard holds its example.
      label: "1", "0", or empty where the input has no labels.
      split: of the manifest, or empty.
      patient_id: as it is written everywhere.
      patient_digest: `splitting.split_digest` of the patient's own id, or of the slice's where
        nobody knows the patient.
      reference: whether it is of the reference set.
      copy_of: the slice that this is an augmented copy of (itself, for the first), empty where no
        copies are made.
      facts: the slice as `accepted.jsonl` lists it, without id, path and split; None in a run.
    """

    id: str
    path: str
    frame: int | None
    shard: int
    label: str
    split: str
    patient_id: str
    patient_digest: str
    reference: bool = False
    copy_of: str = ""
    facts: dict[str, Any] | None = None


def to_quarantine(
    slice_id: str, path: str, reason: Reason, detail: str, frame: int | None = None
) -> beam.pvalue.TaggedOutput:
    """The output that puts a slice into quarantine."""
    return beam.pvalue.TaggedOutput(
        QUARANTINED, QuarantinedSlice(slice_id, path, reason.value, detail, frame)
    )
