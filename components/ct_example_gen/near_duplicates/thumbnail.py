"""The thumbnail of a slice: its lung window on a small square grid, blurred past aliasing."""

from __future__ import annotations

import functools

import numpy as np

from transform.ct_example import StoredSlice

# The lung window of the paper: a slice in HU and its 8-bit picture agree inside it.
WINDOW_HU = (-1000.0, 400.0)
SIDE = 38
# Standard deviation of the blur in thumbnail pixels. Less lets detail fold into false patterns
# that change when a few pixels are cropped; more takes away what tells neighbours apart.
BLUR = 0.7

# Rows are summed in groups first, as long as this many groups remain for a thumbnail row.
_GROUPS_A_ROW = 3


@functools.lru_cache(maxsize=256)
def _averaging(pixels: int, group: int) -> np.ndarray:
    """Weights that turn sums of `group` pixels into thumbnail pixels, float32 [SIDE, groups]."""
    starts = np.arange(0, pixels, group)
    sizes = np.minimum(group, pixels - starts)
    middles = starts + sizes / 2
    scale = pixels / SIDE
    centres = (np.arange(SIDE) + 0.5) * scale
    # Pictures smaller than the thumbnail are blurred over their own pixels.
    distance = (middles - centres[:, None]) / max(0.5, BLUR * scale)
    # Farther out, weights would be denormal numbers, which take a processor ten times as long.
    weights = np.where(np.abs(distance) < 4.0, np.exp(-0.5 * distance**2), 0.0)
    weights /= (weights * sizes).sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


def _row_sums(clipped: np.ndarray, group: int) -> np.ndarray:
    """Sums of `group` neighbouring rows, the last over the rows that are left."""
    if group == 1:
        return clipped
    whole = clipped.shape[0] // group * group
    largest = int(clipped.max()) * group
    sums = clipped[0:whole:group].astype(np.uint16 if largest < 1 << 16 else np.uint32)
    for row in range(1, group):
        np.add(sums, clipped[row:whole:group], out=sums)
    if whole == clipped.shape[0]:
        return sums
    return np.concatenate([sums, clipped[whole:].sum(axis=0, dtype=sums.dtype)[None]])


def thumbnail(stored_slice: StoredSlice) -> np.ndarray:
    """The slice on a square grid, whatever its shape.

    Args:
      stored_slice: of any size.

    Returns:
      uint8 [SIDE, SIDE]: 0 stands for -1000 HU and below, 255 for 400 HU and above.
    """
    stored, slope = stored_slice.stored, stored_slice.slope
    bounds = sorted((hu - stored_slice.intercept) / slope for hu in WINDOW_HU)
    low, high = (int(np.clip(round(bound), 0, np.iinfo(stored.dtype).max)) for bound in bounds)
    rows, columns = stored.shape
    group = max(1, int(rows / SIDE / _GROUPS_A_ROW))
    # Clipped before the average: where a window ends, its mean does not follow the HU's.
    sums = _row_sums(np.clip(stored, low, high), group)
    mean = _averaging(rows, group) @ sums.astype(np.float32) @ _averaging(columns, 1).T
    black, white = WINDOW_HU
    share = (mean * slope + (stored_slice.intercept - black)) / (white - black)
    return np.rint(np.clip(share, 0.0, 1.0) * 255.0).astype(np.uint8)
