"""Where a slice is, and what its file says of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from transform.ct_example import StoredSlice


@dataclasses.dataclass(frozen=True)
class FoundSlice:
    """One slice of what a path names, not yet read.

    Attributes:
      path: the file that holds it.
      name: what tells it from the other slices under the path that was asked for: empty for a file
        of one slice, `/IM0007` for a file of a folder, `#7` for frame or axial slice 7 (counted
        from 1) of a volume, `/scan.nii#7` for that of a volume in a folder.
      frame: which slice of its file, from 0; None for a file of one slice.
    """

    path: Path
    name: str = ""
    frame: int | None = None


@dataclasses.dataclass(frozen=True)
class FileFacts:
    """What is known of a slice's file besides its pixels, none of it free text of a header.

    Attributes:
      format: `png`, `jpeg`, `dicom` or `nifti`.
      mode: Pillow's mode of a picture (`L`, `RGBA`, ...), the keyword of a DICOM transfer syntax
        (`ExplicitVRLittleEndian`), or the data type of a NIfTI volume (`int16`).
      bytes: size of the file.
      series: tells slices of one series or volume from those of another; empty for a picture.
      patient_id: of the DICOM header as it stands, empty for other formats; never written anywhere
        before it was hashed.
    """

    format: str
    mode: str
    bytes: int
    series: str = ""
    patient_id: str = ""


@dataclasses.dataclass(frozen=True)
class SliceReading:
    """One slice with what its file says of it."""

    stored_slice: StoredSlice
    file: FileFacts


@dataclasses.dataclass(frozen=True)
class ReadingSettings:
    """How files are read.

    Attributes:
      window: HU of black and of white in a picture that lost its Hounsfield units.
      refuse_marks: whether coloured marks over a slice make it unusable.
    """

    window: tuple[float, float]
    refuse_marks: bool = False
