"""The lung mask: where in a slice the lungs are, their opacities included, by threshold and shape.

It is made to hide lungs, not to measure them: where it is in doubt it takes more.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.ndimage
import scipy.spatial
from PIL import Image, ImageDraw

# The work is done on a picture of about this many pixels along its longer side: outlines are known
# to half a percent of it, and all lengths below are shares of this side.
_SIDE = 256

# Air, and what a lung window shows as white; beyond these, values say nothing of where lungs are.
_HU_RANGE = (-1000.0, 400.0)

# What is darker than the edge between air-like and solid tissue may be lung. In Hounsfield units
# the edge is about -500, and soft tissue 30; a picture's window is not known, so that the edge is
# looked for inside the body (Otsu 1979), and lies at least so far below what most solid pixels are:
# nearer to them it would be one between fat and muscle.
_BELOW_TISSUE = 350.0
_LOWEST_EDGE = -750.0

# Noise and vessels are smaller than this share of the side, the chest wall is thicker.
_SMOOTH = 0.006

# A row or column of a picture's border differs by no more than this between its pixels, HU: flat
# but for what JPEG does to it. Lines of a slice's air have noise, or the body.
_FLAT = 60.0

# Parts of the body that a crop cut off from the rest are larger than this share of the picture;
# letters, cables and most tables are smaller.
_BODY_PART = 0.02

# Smaller dark regions inside the body are gas in the bowel, holes between ribs, or noise.
_LUNG_PART = 0.004

# A dark region that reaches the frame is a lung that was cut off, and not air around the body,
# where it is large, leaves the corners free, and so much of it lies in the body's convex hull. (Air
# between breasts and frame is small; that beside a round chest reaches a corner.)
_LARGE = 0.05
_WITHIN_HULL = 0.5

# Where the chest wall is thin, the picture faint and noisy, or a rib's edge out of focus, lung and
# air outside may touch; such a bridge is narrower than twice this share of the side.
_BRIDGE = 0.012

# All lung together takes at least this share of the body's hull. In slices through the tips of the
# lungs it is 2 %; the trachea is less than 1 %.
_LUNGS = 0.02

# How far a gap between dark regions may reach that is filled: vessels, walls, a segment's opacity.
_CLOSE = 0.04

# The mask grows by this share of the side, so that the lung's edge and a rim of opacity at the
# pleura are in it.
_GROW = 0.02


def _otsu(values: np.ndarray) -> float:
    """The threshold that parts a histogram best (N. Otsu 1979), values' unit."""
    counts, edges = np.histogram(values, 128, _HU_RANGE)
    middles = (edges[:-1] + edges[1:]) / 2.0
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        between = np.nan_to_num(below * above * apart**2)
    # Any threshold in an empty stretch between two peaks is as good: the middle one.
    best = np.flatnonzero(between >= between.max() * (1.0 - 1e-9))
    return float(edges[1:-1][best].mean())


def distance_within(mask: np.ndarray, radius: float) -> np.ndarray:
    """Pixels no further than a radius from a mask, bool [h, w].

    Each row of the disc is one difference of running sums, which takes an eighth of the time that
    the distances of all pixels take.
    """
    height, width = mask.shape
    reach = int(radius)
    sums = np.zeros((height, width + 2 * reach + 1), np.int32)
    np.cumsum(np.pad(mask, ((0, 0), (reach, reach))), axis=1, out=sums[:, 1:])
    near = np.zeros_like(mask)
    for rows in range(min(reach, height - 1) + 1):
        half = math.isqrt(int(radius**2 - rows**2))
        first, last = reach - half, reach + half + 1
        beside = sums[:, last : last + width] > sums[:, first : first + width]
        near[rows:] |= beside[: height - rows]
        near[: height - rows] |= beside[rows:]
    return near


def _close(mask: np.ndarray, radius: float) -> np.ndarray:
    margin = int(radius) + 1
    grown = distance_within(np.pad(mask, margin), radius)
    closed = ~distance_within(~grown, radius)
    return np.asarray(closed[margin:-margin, margin:-margin]) | mask


def convex_hull(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask's convex hull, bool [h, w]; the mask itself where it has no area."""
    rows, columns = np.nonzero(mask)
    if rows.size == 0 or np.ptp(rows) == 0 or np.ptp(columns) == 0:
        return mask
    # The outermost pixels of each row are enough.
    first, last = mask.argmax(axis=1), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    filled = np.flatnonzero(mask.any(axis=1))
    points = np.concatenate(
        [np.stack([filled, first[filled]], 1), np.stack([filled, last[filled]], 1)]
    )
    try:
        hull = scipy.spatial.ConvexHull(points)
    except scipy.spatial.QhullError:
        # All pixels are on a line.
        return mask
    drawn = Image.new("L", mask.shape[::-1])
    corners = points[hull.vertices, ::-1].ravel().tolist()
    ImageDraw.Draw(drawn).polygon(corners, fill=1, outline=1)
    return np.asarray(drawn, bool) | mask


def _picture_within(hu: np.ndarray) -> tuple[slice, slice]:
    """The part of a picture inside of a flat border (white paper, black padding)."""
    bounds = []
    for axis in (1, 0):
        low, high = np.quantile(hu, (0.02, 0.98), axis=axis)
        lively = np.flatnonzero(high - low > _FLAT)
        if lively.size == 0:
            return slice(0, 0), slice(0, 0)
        bounds.append(slice(int(lively[0]), int(lively[-1]) + 1))
    return bounds[0], bounds[1]


def resample(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample float32 [h, w] to another shape, smoothed where it shrinks."""
    resized = Image.fromarray(image).resize(shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32)


def _large(mask: np.ndarray, least: float) -> np.ndarray:
    """A mask without its connected regions of fewer pixels than `least`."""
    regions, count = scipy.ndimage.label(mask)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    keep = sizes >= least
    keep[0] = False
    return np.asarray(keep[regions])


def _frame(shape: tuple[int, int]) -> np.ndarray:
    frame = np.ones(shape, bool)
    frame[1:-1, 1:-1] = False
    return frame


def _regions_inside(dark: np.ndarray, hull: np.ndarray, least: float) -> np.ndarray:
    """Dark regions of at least so many pixels in the body's hull that are not the air around it."""
    regions, count = scipy.ndimage.label(dark)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    within = np.bincount(regions[hull], minlength=count + 1) / np.maximum(sizes, 1)
    at_frame = np.bincount(regions[_frame(dark.shape)], minlength=count + 1) > 0
    at_corner = np.bincount(regions[[0, 0, -1, -1], [0, -1, 0, -1]], minlength=count + 1) > 0
    cut = ~at_corner & (sizes >= _LARGE * dark.size) & (within >= _WITHIN_HULL)
    keep = (sizes >= least) & (within > 0.0) & (~at_frame | cut)
    keep[0] = False
    return np.asarray(keep[regions])


def _air_like_inside(dark: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dark regions inside the body, and the body's convex hull, both bool [h, w]."""
    hull = convex_hull(_large(~dark, _BODY_PART * dark.size))
    inside = _regions_inside(dark, hull, _LUNG_PART * hull.sum())
    # Again without bridges. Air in the notch of an armpit, which is cut off then, is small.
    apart = ~distance_within(~dark, _BRIDGE * _SIDE)
    apart = _regions_inside(apart, hull, _LARGE * dark.size)
    return inside | (distance_within(apart, _BRIDGE * _SIDE) & dark), hull


def _edge(small: np.ndarray) -> float:
    """What is darker is air-like, HU."""
    first = _otsu(small)
    inside = convex_hull(_large(small > first, _BODY_PART * small.size))
    if not inside.any():
        return first
    solid = small[inside & (small > first)]
    highest = float(np.median(solid)) - _BELOW_TISSUE
    return max(min(_otsu(small[inside]), highest), _LOWEST_EDGE)


def _sides(lungs: np.ndarray) -> list[np.ndarray]:
    """The right and the left half of the lungs, parted where least of them is."""
    columns = lungs.sum(axis=0)
    filled = np.flatnonzero(columns)
    width = filled[-1] - filled[0]
    start, stop = filled[0] + round(0.35 * width), filled[0] + round(0.65 * width) + 1
    smooth = scipy.ndimage.uniform_filter1d(columns.astype(np.float32), 5)
    middle = start + int(smooth[start:stop].argmin())
    left = np.zeros_like(lungs)
    left[:, :middle] = lungs[:, :middle]
    return [left, lungs & ~left]


def lung_mask(hu: np.ndarray) -> np.ndarray:
    """Where the lungs are.

    What is air-like inside the body, each side made convex, so that dense opacities at the pleura
    belong to it, as does a part of the hilum and of the heart's edge. Gas in trachea or bowel may
    be in it too. Pictures may be cropped, have a flat border, and show their HU through an unknown
    window: no length or shade is taken for exact.

    Args:
      hu: float32 [h, w], HU.

    Returns:
      bool [h, w]; all False where no lung was found.
    """
    mask = np.zeros(hu.shape, bool)
    within = _picture_within(np.clip(hu, *_HU_RANGE))
    part = np.clip(hu[within], *_HU_RANGE)
    if min(part.shape) < 8:
        return mask
    scale = _SIDE / max(part.shape)
    shape = (max(8, round(part.shape[0] * scale)), max(8, round(part.shape[1] * scale)))
    small = resample(part, shape)
    small = scipy.ndimage.gaussian_filter(small, _SMOOTH * _SIDE)
    lungs, hull = _air_like_inside(small < _edge(small))
    if lungs.sum() < _LUNGS * hull.sum() or not lungs.any():
        return mask
    lungs = _close(lungs, _CLOSE * _SIDE)
    sides = [convex_hull(_large(side, _LUNG_PART * hull.sum())) for side in _sides(lungs)]
    lungs = distance_within(lungs | sides[0] | sides[1], _GROW * _SIDE)
    mask[within] = resample(lungs.astype(np.float32), part.shape) > 0.5
    return mask
