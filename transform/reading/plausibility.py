"""Plausibility: what no slice of a body can be, whatever format it came in."""

import math
from pathlib import Path

import numpy as np

from transform.ct_example import StoredSlice
from transform.reading.unusable import Reason, UnusableSliceError

# Thumbnails and localizer icons are about this small; no lung is seen on them.
MIN_SIDE = 16

# The bounds of `stats/mean_hu` and `stats/std_hu` in schema.pbtxt, which stop a whole run: one
# slice with a damaged modality LUT goes to quarantine instead.
PLAUSIBLE_MEAN_HU = (-2000.0, 4000.0)
PLAUSIBLE_STD_HU = 10000.0

_WILD_HU = 100_000


def refuse_implausible(stored_slice: StoredSlice, path: Path) -> None:
    """Refuse a slice that is too small, shows nothing, or has Hounsfield units no body has.

    Raises:
      UnusableSliceError: too_small, constant or implausible_hu.
    """
    stored = stored_slice.stored
    height, width = stored.shape
    if min(height, width) < MIN_SIDE:
        raise UnusableSliceError(
            Reason.TOO_SMALL,
            f"{path} has {width} x {height} pixels; a slice has at least {MIN_SIDE} x {MIN_SIDE}",
        )
    if stored.min() == stored.max():
        raise UnusableSliceError(
            Reason.CONSTANT, f"{path} has one value in every pixel, so it shows nothing"
        )
    # The square of a 16-bit value fits 32 bit, so that no copy in floating point is needed.
    mean_stored = float(stored.mean())
    mean_square = float(np.square(stored, dtype=np.uint32).mean())
    mean = mean_stored * stored_slice.slope + stored_slice.intercept
    spread = math.sqrt(max(0.0, mean_square - mean_stored**2)) * abs(stored_slice.slope)
    low, high = PLAUSIBLE_MEAN_HU
    # Written so that a mean or spread that is not a number is refused, too.
    if not (low <= mean <= high and spread <= PLAUSIBLE_STD_HU):
        raise UnusableSliceError(
            Reason.IMPLAUSIBLE_HU,
            f"{path} has a mean of {_rounded(mean)} HU and a standard deviation of "
            f"{_rounded(spread)} HU, which no CT of a body has",
        )


def _rounded(hounsfield: float) -> str:
    """A number for a message; a wild one is not repeated, it could be a date in a wrong place."""
    if abs(hounsfield) < _WILD_HU:
        return f"{hounsfield:.0f}"
    return f"beyond {'-' if hounsfield < 0 else ''}{_WILD_HU}"
