"""A folder of DICOM CT files as one series: its slices from feet to head, whole and of one kind.

Slices are ordered by their position along the normal of their plane (DICOM PS3.3 C.7.6.2.1.1), not
by file name or number; the normal is taken to point to the head, so the order is the same whichever
way the table moved. Where a slice has no position, InstanceNumber orders them all.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from transform.reading import dicom_tags
from transform.reading.dicom import (
    reasons_for,
    refuse_other_modalities,
    refuse_other_planes,
    series_of,
)
from transform.reading.dicom_geometry import (
    Vector,
    position_along,
    slice_corner,
    slice_normal,
)
from transform.reading.dicom_header import DicomHeader, open_regular
from transform.reading.dicom_pixels import number_of_frames
from transform.reading.found_slice import FoundSlice
from transform.reading.unusable import Reason, UnusableSeriesError, UnusableSliceError

# Direction cosines are written with six digits, and some scanners round them to three.
_SAME_DIRECTION = 0.005
_SAME_PLACE_MM = 0.01
# A missing slice doubles the distance; positions that were rounded to a millimetre change it less.
_GAP = 1.5


@dataclasses.dataclass(frozen=True)
class _Member:
    """What is kept of a slice's header until the folder is ordered.

    Attributes:
      found: where it is.
      series: short hash of its SeriesInstanceUID.
      normal: of its plane; None where unknown.
      corner: where it lies; None where unknown.
      number: InstanceNumber, then the frame; None where unknown.
    """

    found: FoundSlice
    series: str
    normal: Vector | None
    corner: Vector | None
    number: tuple[int, int] | None


def _members(path: Path, name: str) -> list[_Member]:
    """The slices of one file.

    Raises:
      UnusableSliceError: it holds none, or cannot be read.
    """
    with open_regular(path) as file, reasons_for(path):
        header = DicomHeader(file, dicom_tags.SERIES_PLACE)
        elements = header.elements
        refuse_other_modalities(elements, path)
        frames = number_of_frames(header)
        number = elements.whole_number(dicom_tags.INSTANCE_NUMBER)
        series = series_of(elements)
        members = []
        for frame in range(frames):
            refuse_other_planes(elements, frame, path)
            normal, corner = slice_normal(elements, frame), slice_corner(elements, frame)
            single = FoundSlice(path, name)
            found = single if frames == 1 else FoundSlice(path, f"{name}#{frame + 1}", frame)
            order = None if number is None else (number, frame)
            members.append(_Member(found, series, normal, corner, order))
        return members


def _refuse_mixed(
    members: Sequence[_Member], everything: Sequence[FoundSlice], folder: Path
) -> None:
    series = {member.series for member in members}
    if len(series) > 1:
        raise UnusableSeriesError(
            Reason.MIXED_SERIES,
            f"{folder} holds slices of {len(series)} series; give each a folder of its own",
            everything,
        )
    normals = [member.normal for member in members if member.normal is not None]
    if any(math.dist(normals[0], normal) > _SAME_DIRECTION for normal in normals):
        raise UnusableSeriesError(
            Reason.MIXED_SERIES,
            f"{folder} holds slices of different directions; give each a folder of its own",
            everything,
        )


def _refuse_gaps(
    positions: Sequence[float], everything: Sequence[FoundSlice], folder: Path
) -> None:
    distances = [upper - lower for lower, upper in itertools.pairwise(positions)]
    if not distances:
        return
    if min(distances) < _SAME_PLACE_MM:
        raise UnusableSeriesError(
            Reason.MIXED_SERIES,
            f"{folder} holds two slices at one position; give each scan a folder of its own",
            everything,
        )
    usual, largest = statistics.median_low(distances), max(distances)
    if largest > _GAP * usual:
        raise UnusableSeriesError(
            Reason.GAP_IN_SERIES,
            f"{folder} has slices {usual:.4g} mm apart, but two with {largest:.4g} mm between them",
            everything,
        )


def _positions(members: Sequence[_Member]) -> list[float] | None:
    """Of each slice, mm along one normal for all; None where one of them is unknown."""
    normal = members[0].normal
    corners = [member.corner for member in members if member.normal and member.corner]
    if normal is None or len(corners) < len(members):
        return None
    return [position_along(normal, corner) for corner in corners]


def _file_order(member: _Member) -> tuple[str, int]:
    return member.found.path.name, member.found.frame or 0


def find_series(files: Iterable[Path], folder: Path) -> list[FoundSlice]:
    """The slices of a folder's DICOM files, from feet to head.

    Only headers are read. What is no axial CT slice, or cannot be read, is no part of the series
    but comes after it, in the order of the names: reading it gives its own reason, so that it is
    not lost. A file of many frames gives a slice for each.

    Args:
      files: DICOM files.
      folder: where they are; their names in the result are relative to it.

    Raises:
      UnusableSeriesError: mixed_series (several SeriesInstanceUIDs, slices of different
        directions, or two at one position) or gap_in_series (a distance more than 1.5 times the
        usual one); its members are all slices.
    """
    members: list[_Member] = []
    others: list[FoundSlice] = []
    for path in sorted(files):
        try:
            name = f"/{path.relative_to(folder).as_posix()}"
        except ValueError:
            name = f"/{path.name}"
        try:
            members += _members(path, name)
        except UnusableSliceError:
            others.append(FoundSlice(path, name))
    if not members:
        return others
    members.sort(key=_file_order)
    everything = [*(member.found for member in members), *others]
    _refuse_mixed(members, everything, folder)
    positions = _positions(members)
    if positions is None:
        # Those without a number come last, in the order of their names.
        members.sort(key=lambda member: member.number or (math.inf, 0))
    else:
        _refuse_gaps(sorted(positions), everything, folder)
        up = sorted(range(len(members)), key=positions.__getitem__)
        members = [members[index] for index in up]
    return [*(member.found for member in members), *others]
