"""Read single-frame DICOM CT files with the Hounsfield units that the scanner wrote."""

import math
from pathlib import Path

import numpy as np
import pydicom

from transform.ct_example import StoredSlice
from transform.reading.picture import MAX_PIXELS
from transform.reading.unusable import Reason, UnusableSliceError

# The bounds of `stats/mean_hu` and `stats/std_hu` in schema.pbtxt, which stop a whole run: one
# slice with a damaged modality LUT goes to quarantine instead.
PLAUSIBLE_MEAN_HU = (-2000.0, 4000.0)
PLAUSIBLE_STD_HU = 10000.0


def _stored_as_unsigned(stored: np.ndarray, path: Path) -> tuple[np.ndarray, int]:
    """Stored values as uint16, and by how much they were shifted to be so."""
    lowest, highest = int(stored.min()), int(stored.max())
    shift = -lowest if lowest < 0 else 0
    if highest + shift > np.iinfo(np.uint16).max:
        raise UnusableSliceError(
            Reason.UNSUPPORTED_PIXELS,
            f"{path} has stored values from {lowest} to {highest}, more than 16 bit",
        )
    return (stored.astype(np.int32) + shift).astype(np.uint16), shift


def _refuse_unusable(dataset: pydicom.Dataset, path: Path) -> None:
    modality = dataset.get("Modality", "")
    if modality != "CT":
        raise UnusableSliceError(
            Reason.NOT_CT, f"{path} has modality {modality or 'none'!r}, not CT"
        )
    if "PixelData" not in dataset:
        raise UnusableSliceError(Reason.NO_PIXELS, f"{path} carries no pixel data")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows * columns > MAX_PIXELS:
        raise UnusableSliceError(
            Reason.TOO_LARGE, f"{path} has {columns} x {rows} pixels, more than a CT slice"
        )
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames != 1:
        raise UnusableSliceError(
            Reason.MULTI_FRAME, f"{path} holds {frames} frames; only single-frame CT is read"
        )
    interpretation = dataset.get("PhotometricInterpretation", "MONOCHROME2")
    if interpretation != "MONOCHROME2":
        raise UnusableSliceError(
            Reason.UNSUPPORTED_PIXELS, f"{path} is {interpretation}; only MONOCHROME2 is read"
        )
    if dataset.get("RescaleSlope") is None or dataset.get("RescaleIntercept") is None:
        raise UnusableSliceError(
            Reason.NOT_RESCALED,
            f"{path} lacks RescaleSlope or RescaleIntercept, so its Hounsfield units are unknown",
        )


def _modality_lut(dataset: pydicom.Dataset, path: Path) -> tuple[float, float]:
    """Slope (HU per stored value) and intercept (HU)."""
    slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        raise UnusableSliceError(
            Reason.NOT_RESCALED,
            f"{path} has RescaleSlope {slope:g} and RescaleIntercept {intercept:g}, so its "
            "Hounsfield units are unknown",
        )
    return slope, intercept


def _refuse_implausible(stored_slice: StoredSlice, path: Path) -> None:
    mean = float(stored_slice.stored.mean()) * stored_slice.slope + stored_slice.intercept
    spread = float(stored_slice.stored.std()) * abs(stored_slice.slope)
    low, high = PLAUSIBLE_MEAN_HU
    if not low <= mean <= high or spread > PLAUSIBLE_STD_HU:
        raise UnusableSliceError(
            Reason.IMPLAUSIBLE_HU,
            f"{path} has a mean of {mean:g} HU and a standard deviation of {spread:g} HU, which "
            "no CT of a body has",
        )


def _stored_slice(dataset: pydicom.Dataset, path: Path) -> StoredSlice:
    _refuse_unusable(dataset, path)
    slope, intercept = _modality_lut(dataset, path)
    stored = dataset.pixel_array
    if stored.ndim != 2:
        raise UnusableSliceError(
            Reason.UNSUPPORTED_PIXELS,
            f"{path} has pixels of shape {stored.shape}, not rows x columns",
        )
    unsigned, shift = _stored_as_unsigned(stored, path)
    stored_slice = StoredSlice(unsigned, slope, intercept - slope * shift, calibrated=True)
    _refuse_implausible(stored_slice, path)
    return stored_slice


def read_dicom(path: Path) -> StoredSlice:
    """Read a CT slice with its modality LUT (DICOM PS3.3 C.11.1).

    Signed stored values are shifted to be unsigned, and the shift goes into the intercept, so
    that HU = stored * slope + intercept holds for what is returned.

    Raises:
      UnusableSliceError: unreadable, not_ct, no_pixels, multi_frame, not_rescaled, too_large,
        unsupported_pixels or implausible_hu.
    """
    try:
        return _stored_slice(pydicom.dcmread(path), path)
    except UnusableSliceError:
        raise
    # pydicom converts an element when it is asked for, and it and its decoders raise many kinds
    # of error on damaged ones.
    except Exception as error:
        raise UnusableSliceError.damaged(path, error) from error
