"""Numbers about the pixels of a slice, by which statistics can see that images change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transform.ct_example import StoredSlice

MEAN_HU = "stats/mean_hu"
STD_HU = "stats/std_hu"
MIN_HU = "stats/min_hu"
MAX_HU = "stats/max_hu"
LUNG_FRACTION = "stats/lung_fraction"
SHARPNESS = "stats/sharpness"
NOISE = "stats/noise"
HEIGHT = "stats/height"
WIDTH = "stats/width"
SPACING = "stats/spacing"
STATS = (
    MEAN_HU,
    STD_HU,
    MIN_HU,
    MAX_HU,
    LUNG_FRACTION,
    SHARPNESS,
    NOISE,
    HEIGHT,
    WIDTH,
    SPACING,
)

# Aerated lung lies between these, with the partial volumes of vessels and walls left out
# (-950 HU is the usual emphysema threshold, -500 HU the usual edge of normally aerated lung).
LUNG_HU = (-950.0, -500.0)

# The share of neighbouring pixels that are a steeper edge than `stats/sharpness` says.
_STEEPEST = 0.01

# So many values at a time stay in a core's cache, as the only 64-bit copy there is of them.
_BLOCK = 65536

# Of a larger slice some rows are left out in sharpness and noise, which are estimates anyway.
_ROWS = 256

# Immerkaer's mask is the outer product of (1, -2, 1) with itself: of white noise of variance 1 it
# makes noise of variance 36.
_MASK_NORM = 6.0
# The median of |x| of a Gaussian of standard deviation 1.
_HALF_NORMAL_MEDIAN = 0.6744897501960817


def _moments(stored: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation, from exact sums."""
    values = stored.ravel()
    total = squares = 0
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK].astype(np.uint64)
        total += int(block.sum())
        squares += int(np.vdot(block, block))
    count = values.size
    return total / count, max(count * squares - total * total, 0) ** 0.5 / count


def _lung_fraction(stored_slice: StoredSlice, lowest: int, highest: int) -> float:
    stored = stored_slice.stored
    # Stored values increase or decrease with HU, so that those of lung are one run of them.
    values = np.arange(lowest, highest + 1) * stored_slice.slope + stored_slice.intercept
    low, high = LUNG_HU
    lung = np.flatnonzero((values >= low) & (values <= high)) + lowest
    if not lung.size:
        return 0.0
    within = (stored >= np.uint16(lung[0])) & (stored <= np.uint16(lung[-1]))
    return np.count_nonzero(within) / stored.size


def _median(magnitudes: np.ndarray) -> float:
    """Median of integers as if each were spread over the unit around it (a grouped median).

    The plain median of a picture of few grey levels would jump from one level to the next.
    """
    count = magnitudes.size
    middle = int(np.partition(magnitudes, count // 2)[count // 2])
    below = int(np.count_nonzero(magnitudes < middle))
    equal = int(np.count_nonzero(magnitudes == middle))
    if middle == 0:
        # Where all of it is 0 so is the median, and where half of it is, the two cases meet.
        return 1 - equal / count
    return middle - 0.5 + (count / 2 - below) / equal


def _centre(stored: np.ndarray) -> np.ndarray:
    """The middle half of rows and columns: body, where a corner may be constant padding."""
    height, width = stored.shape
    return stored[height // 4 : height - height // 4, width // 4 : width - width // 4]


def _sharpness(centre: np.ndarray, step: int) -> float:
    """How much the steepest of neighbouring pixels differ, in stored values."""
    rows = centre[::step].astype(np.int32)
    across = rows[:, 1:] - rows[:, :-1]
    down = centre[1::step].astype(np.int32)
    down -= rows[: len(down)]
    edges = np.abs(np.concatenate((across, down), axis=None))
    if not edges.size:
        return 0.0
    rank = int((edges.size - 1) * (1 - _STEEPEST))
    return float(np.partition(edges, rank)[rank])


def _noise(centre: np.ndarray, step: int) -> float:
    """Standard deviation of the noise, in stored values."""
    height, width = centre.shape
    if height < 3 or width < 3:
        return 0.0
    above, here, below = (
        centre[row : height - 2 + row : step].astype(np.int32) for row in range(3)
    )
    down = above - 2 * here + below
    structure = down[:, 1:-1] * -2
    structure += down[:, :-2]
    structure += down[:, 2:]
    magnitudes = np.abs(structure, out=structure).ravel()
    return _median(magnitudes) / _HALF_NORMAL_MEDIAN / _MASK_NORM


def slice_statistics(stored_slice: StoredSlice) -> dict[str, float]:
    """The `stats/...` features of a slice.

    Minimum, maximum, mean and standard deviation are those of the Hounsfield units (DICOM PS3.3
    C.11.1.1.2) over all pixels, computed exactly from the stored values. The rest:

    - `lung_fraction`: share of the pixels between -950 and -500 HU.
    - `sharpness`: HU by which one in a hundred of neighbouring pixels differ at least, in the
      middle of the slice. It is steep edges that count, so that the reconstruction kernel and the
      resolution show, and noise hardly does.
    - `noise`: standard deviation of the noise, HU, in the middle of the slice. The mask is that of
      J. Immerkaer, Fast Noise Variance Estimation, Computer Vision and Image Understanding 64(2),
      1996, which is blind to planes and straight edges; of its answers the median is taken instead
      of the mean (as D. Donoho and I. Johnstone do in Biometrika 81(3), 1994), which vessels and
      other structure pull up. The mask takes noise for white: what a soft kernel has smoothed
      counts for less than its standard deviation.
    - `height`, `width`: pixels.
    - `spacing`: mm; not there where it is unknown.

    Args:
      stored_slice: of any size from one pixel on.

    Returns:
      The numbers by feature name.
    """
    stored, scale = stored_slice.stored, abs(stored_slice.slope)
    lowest, highest = int(stored.min()), int(stored.max())
    ends = [value * stored_slice.slope + stored_slice.intercept for value in (lowest, highest)]
    mean, deviation = _moments(stored)
    centre = _centre(stored)
    height, width = stored.shape
    step = max(1, len(centre) // _ROWS)
    statistics = {
        MEAN_HU: mean * stored_slice.slope + stored_slice.intercept,
        STD_HU: deviation * scale,
        MIN_HU: min(ends),
        MAX_HU: max(ends),
        LUNG_FRACTION: _lung_fraction(stored_slice, lowest, highest),
        SHARPNESS: _sharpness(centre, 2 * step) * scale,
        NOISE: _noise(centre, step) * scale,
        HEIGHT: float(height),
        WIDTH: float(width),
    }
    if stored_slice.spacing is not None:
        statistics[SPACING] = float(stored_slice.spacing)
    return {name: float(value) for name, value in statistics.items()}
