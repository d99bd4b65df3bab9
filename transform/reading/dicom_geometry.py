"""Where a DICOM slice lies in the patient (DICOM PS3.3 C.7.6.2): plane, position, spacing.

The patient's coordinates are in mm: x to the left hand, y to the back, z to the head.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from transform.reading import dicom_tags
from transform.reading.dicom_elements import DamagedDicomError, Elements

Vector = tuple[float, float, float]

# A wider pixel would make a chest of 512 of them 25 m wide.
_MAX_SPACING_MM = 50.0


def functional_groups(elements: Elements, frame: int) -> Iterator[Elements]:
    """Where a frame's attributes can stand: its own groups, those shared, the data set itself.

    PS3.3 C.7.6.16.1: an attribute is in the groups of each frame or in the shared ones.
    """
    own = elements.items(dicom_tags.PER_FRAME_GROUPS)
    if frame < len(own):
        yield own[frame]
    shared = elements.item(dicom_tags.SHARED_GROUPS)
    if shared is not None:
        yield shared


def _numbers(elements: Elements, frame: int, group: int, tag: int) -> tuple[float, ...] | None:
    """Numbers of a frame; None where they are absent or no numbers, since a slice does without."""
    with contextlib.suppress(DamagedDicomError):
        for groups in functional_groups(elements, frame):
            inside = groups.item(group)
            if inside is not None and (found := inside.numbers(tag)) is not None:
                return found
        return elements.numbers(tag)
    return None


def slice_normal(elements: Elements, frame: int) -> Vector | None:
    """Unit normal of a frame's plane, pointing to the head where it can; None where unknown."""
    cosines = _numbers(elements, frame, dicom_tags.PLANE_ORIENTATION, dicom_tags.IMAGE_ORIENTATION)
    if cosines is None or len(cosines) != 6 or not all(map(math.isfinite, cosines)):
        return None
    a, b, c, d, e, f = cosines
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = math.hypot(*normal)
    # Two cosines along one line, or all of them zero, span no plane.
    if not 0.1 < length < 10.0:
        return None
    sign = -1.0 if normal[2] < 0 else 1.0
    x, y, z = (sign * part / length for part in normal)
    return x, y, z


def is_axial(normal: Vector) -> bool:
    """Whether a slice of this normal is nearer to an axial than to a sagittal or coronal one."""
    x, y, z = map(abs, normal)
    return z >= x and z >= y


def slice_corner(elements: Elements, frame: int) -> Vector | None:
    """Centre of a frame's first pixel in the patient, mm; None where unknown."""
    corner = _numbers(elements, frame, dicom_tags.PLANE_POSITION, dicom_tags.IMAGE_POSITION)
    if corner is None or len(corner) != 3 or not all(map(math.isfinite, corner)):
        return None
    return corner[0], corner[1], corner[2]


def position_along(normal: Vector, corner: Vector) -> float:
    """How far up a slice lies, mm along the normal."""
    return sum(along * part for along, part in zip(normal, corner, strict=True))


def pixel_spacing(elements: Elements, frame: int) -> float | None:
    """Mean of the spacing between rows and between columns, mm; None where it is not valid."""
    spacing = _numbers(elements, frame, dicom_tags.PIXEL_MEASURES, dicom_tags.PIXEL_SPACING)
    if spacing is None or len(spacing) != 2:
        return None
    if not all(0.0 < part < _MAX_SPACING_MM for part in spacing):
        return None
    return (spacing[0] + spacing[1]) / 2


def is_localizer(elements: Elements, frame: int) -> bool:
    """Whether a frame is a scout (PS3.3 C.8.2.1.1.1, or C.8.15.3.1.1 for a frame of its own)."""
    if "LOCALIZER" in elements.terms(dicom_tags.IMAGE_TYPE):
        return True
    for groups in functional_groups(elements, frame):
        kind = groups.item(dicom_tags.CT_FRAME_TYPE)
        if kind is not None:
            return "LOCALIZER" in kind.terms(dicom_tags.FRAME_TYPE)
    return False
