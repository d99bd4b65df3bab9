"""Whose a slice is, as far as the client can tell."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Patient:
    """Slices of equal patients belong together.

    Attributes:
      id: PatientID as the DICOM header has it (DICOM PS3.3 C.2.2); where it has none, and for other
        formats, the path of the folder that was read as one series, else of the file. It is left
        out where a patient is printed, so that no log gets it by accident.
      in_header: whether `id` is of a DICOM header.
    """

    id: str = dataclasses.field(repr=False)
    in_header: bool


def patient_of(source: Path, header_id: str = "") -> Patient:
    """The patient of a slice.

    Args:
      source: the file, or the folder that was read as one series or volume.
      header_id: PatientID of its DICOM header; empty where there is none.
    """
    if header_id:
        return Patient(header_id, in_header=True)
    return Patient(str(source), in_header=False)
