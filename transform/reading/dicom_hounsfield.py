"""Hounsfield units of stored values: the modality LUT, and padding that becomes air.

DICOM PS3.3 C.11.1 (modality LUT), C.7.6.16.2.9 (pixel value transformation of a frame), C.7.5.1.1.2
(pixel padding).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from transform.ct_example import StoredSlice
from transform.reading import dicom_tags
from transform.reading.dicom_elements import DamagedDicomError, Elements
from transform.reading.dicom_geometry import functional_groups
from transform.reading.dicom_pixels import UnsupportedPixelsError

AIR_HU = -1000.0

# No tissue and no noise of a scanner reaches so far below air.
_FAR_BELOW_AIR_HU = 500.0

# PS3.3 C.11.1.1.2. CT without RescaleType is in Hounsfield units; US (unspecified) is what many
# writers put there all the same.
_HOUNSFIELD_TYPES = frozenset(("", "HU", "HU_MOD", "US"))
_OTHER_TYPES = frozenset(("OD", "MGML", "Z_EFF", "ED", "EDW", "PCT"))

_MAX_STORED = np.iinfo(np.uint16).max


class NotRescaledError(Exception):
    """Stored values of which no Hounsfield units are known."""


@dataclasses.dataclass(frozen=True)
class ModalityLut:
    """From stored values to Hounsfield units.

    Attributes:
      slope: HU per value.
      intercept: HU of value 0.
      table: int32 [n]: the values that stored values from `first` on stand for, before slope and
        intercept; None where they stand for themselves.
      first: the stored value of the table's first entry.
    """

    slope: float
    intercept: float
    table: np.ndarray | None = None
    first: int = 0

    def values(self, stored: np.ndarray) -> np.ndarray:
        """What slope and intercept are applied to, of the shape of `stored`."""
        if self.table is None:
            return stored
        # Stored values outside the table get its first or its last entry.
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.table) - 1)
        return self.table[index]


def _refuse_other_types(kind: str) -> None:
    if kind not in _HOUNSFIELD_TYPES:
        named = kind if kind in _OTHER_TYPES else "unknown"
        raise NotRescaledError(f"has values that are no Hounsfield units (RescaleType {named})")


def _lookup_table(item: Elements, signed: bool) -> ModalityLut:
    """PS3.3 C.11.1.1.1: number of entries (0 for 65,536), first stored value, bits of an entry."""
    _refuse_other_types(item.term(dicom_tags.MODALITY_LUT_TYPE))
    tag = dicom_tags.LUT_DESCRIPTOR
    vr = item.vr(tag)
    is_signed = vr == b"SS" or (vr != b"US" and signed)
    counts, firsts = item.words(tag), item.words(tag, is_signed)
    if counts is None or firsts is None or len(counts) != 3 or counts[2] not in (8, 16):
        raise DamagedDicomError("its LUTDescriptor cannot be understood")
    entries = item.words(dicom_tags.LUT_DATA)
    count = counts[0] or 1 << 16
    if entries is None or len(entries) < count:
        raise DamagedDicomError("its LUTData are shorter than its LUTDescriptor says")
    table = np.asarray(entries[:count], dtype=np.int32)
    if counts[2] == 8 and table.max() > 255:
        raise DamagedDicomError("its LUTData are longer than its LUTDescriptor says")
    return ModalityLut(1.0, 0.0, table, firsts[1])


def modality_lut(elements: Elements, frame: int, signed: bool) -> ModalityLut:
    """The map to Hounsfield units of a frame, from its functional groups or the data set.

    Args:
      elements: of the data set.
      frame: which, from 0.
      signed: whether stored values are signed, which says how a LUTDescriptor is read.

    Raises:
      NotRescaledError: there is none, or it does not give Hounsfield units.
      DamagedDicomError: it cannot be understood.
    """
    places = [
        item
        for groups in functional_groups(elements, frame)
        if (item := groups.item(dicom_tags.PIXEL_VALUE_TRANSFORMATION)) is not None
    ]
    for place in [*places, elements]:
        table = place.item(dicom_tags.MODALITY_LUT)
        if table is not None:
            return _lookup_table(table, signed)
        slope = place.number(dicom_tags.RESCALE_SLOPE)
        intercept = place.number(dicom_tags.RESCALE_INTERCEPT)
        if slope is None or intercept is None:
            continue
        _refuse_other_types(place.term(dicom_tags.RESCALE_TYPE))
        if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
            raise NotRescaledError(
                "has a RescaleSlope of zero, or a RescaleSlope or RescaleIntercept that is not "
                "finite, so its Hounsfield units are unknown"
            )
        return ModalityLut(slope, intercept)
    raise NotRescaledError(
        "lacks RescaleSlope or RescaleIntercept, so its Hounsfield units are unknown"
    )


def _smeared_padding(stored: np.ndarray, value: int, lut: ModalityLut) -> np.ndarray | None:
    """What lossy compression made of padding far below air; None where padding is not there."""
    air = (AIR_HU - lut.intercept) / lut.slope
    if lut.table is not None or (air - value) * lut.slope < _FAR_BELOW_AIR_HU:
        return None
    middle = (value + air) / 2
    return stored < middle if lut.slope > 0 else stored > middle


def padding(
    elements: Elements, stored: np.ndarray, signed: bool, lut: ModalityLut, lossy: bool
) -> np.ndarray | None:
    """Which pixels are padding, bool of the shape of `stored`; None where there is none.

    PS3.3 C.7.5.1.1.2: those equal to PixelPaddingValue, or between it and PixelPaddingRangeLimit;
    both are stored values, so their sign is that of the pixels. Lossy compression does not keep
    the value: where it lies far below that of air, what is nearer to it than to air is padding.

    Raises:
      DamagedDicomError: a padding value is no number of 16 bit.
    """
    value = elements.word(dicom_tags.PIXEL_PADDING_VALUE, signed)
    if value is None:
        return None
    limit = elements.word(dicom_tags.PIXEL_PADDING_RANGE_LIMIT, signed)
    mask = _smeared_padding(stored, value, lut) if lossy else None
    if mask is None:
        if limit is None or limit == value:
            mask = stored == value
        else:
            mask = (stored >= min(value, limit)) & (stored <= max(value, limit))
    return mask if mask.any() else None


def _with_air(values: np.ndarray, mask: np.ndarray, lut: ModalityLut) -> np.ndarray:
    """Padding replaced by air, as near to -1000 HU as 16 bit with the rest of the slice allow."""
    values = values.astype(np.int32 if values.itemsize < 4 else np.int64)
    kept = ~mask
    lowest, highest = 0, 0
    if kept.any():
        bounds = np.iinfo(values.dtype)
        lowest = int(values.min(where=kept, initial=bounds.max))
        highest = int(values.max(where=kept, initial=bounds.min))
    air = (AIR_HU - lut.intercept) / lut.slope
    low = min(lowest, highest - _MAX_STORED)
    high = max(highest, lowest + _MAX_STORED)
    np.copyto(values, round(min(max(air, low), high)), where=mask)
    return values


def hounsfield_slice(
    stored: np.ndarray, lut: ModalityLut, mask: np.ndarray | None, spacing: float | None
) -> StoredSlice:
    """The slice of stored values; signed ones are shifted, and the shift goes into the intercept.

    Args:
      stored: integers [height, width].
      lut: from them to Hounsfield units.
      mask: bool [height, width], which pixels are padding; None for none.
      spacing: mm from one pixel to the next; None where unknown.

    Raises:
      UnsupportedPixelsError: the values span more than 16 bit.
    """
    values = lut.values(stored)
    if mask is not None:
        values = _with_air(values, mask, lut)
    lowest, highest = int(values.min()), int(values.max())
    if highest - lowest > _MAX_STORED:
        raise UnsupportedPixelsError("has stored values that span more than 16 bit")
    shift = lowest if lowest < 0 or highest > _MAX_STORED else 0
    # Beyond 16 bit both are cut, which leaves their difference as it is.
    unsigned = values.astype(np.uint16)
    if shift:
        unsigned = unsigned - np.uint16(shift % (1 << 16))
    return StoredSlice(
        unsigned, lut.slope, lut.intercept + lut.slope * shift, calibrated=True, spacing=spacing
    )
