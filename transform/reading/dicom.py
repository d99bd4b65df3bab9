"""Read single-frame DICOM CT files with the Hounsfield units that the scanner wrote."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from transform.ct_example import StoredSlice
from transform.reading.unusable import Reason, UnusableSliceError


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


def read_dicom(path: Path) -> StoredSlice:
    """Read a CT slice with its modality LUT (DICOM PS3.3 C.11.1).

    Signed stored values are shifted to be unsigned, and the shift goes into the intercept, so
    that HU = stored * slope + intercept holds for what is returned.

    Raises:
      UnusableSliceError: unreadable, not_ct, no_pixels, multi_frame, not_rescaled or
        unsupported_pixels.
    """
    try:
        dataset = pydicom.dcmread(path)
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise UnusableSliceError(
            Reason.UNREADABLE, f"{path} is damaged or cut off: {error}"
        ) from error
    _refuse_unusable(dataset, path)
    try:
        stored = dataset.pixel_array
    # pydicom and its decoders raise many kinds of error on damaged or unsupported pixel data.
    except Exception as error:
        line = " ".join(str(error).split())
        raise UnusableSliceError(Reason.UNREADABLE, f"{path}: pixel data: {line}") from error
    unsigned, shift = _stored_as_unsigned(stored, path)
    slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    return StoredSlice(unsigned, slope, intercept - slope * shift, calibrated=True)
