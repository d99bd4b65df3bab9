"""Lay one thumbnail over another: scale and shift along each axis, by Gauss-Newton steps.

The same picture resized, squeezed or cropped differs by exactly these four numbers, since a
thumbnail spans its whole picture (Lucas and Kanade, 1981; Baker and Matthews, 2004, forward
additive).
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

# (standard deviation of the blur in pixels, steps): coarse first, to reach over the distance that
# a crop moves an edge by.
_LEVELS = ((2.0, 4), (0.0, 3))
# What is smoother than this (pixels) does not steer the alignment.
_BACKGROUND = 6.0
# Twice the crop that is to be found, 3 % on every side of one picture or of either. Farther off
# the fit follows the shape of a chest rather than the picture.
_SCALE = (0.88, 1.14)
_SHIFT = 0.06
# On the way the fit may overshoot.
_SCALE_UNDERWAY = (0.8, 1.25)
_SHIFT_UNDERWAY = 0.15
# A step this small (pixels at the rim) ends a level.
_SETTLED = 0.02
# Correlation after a step of the coarse level, and before any of the fine one, below which two
# pictures are not the same. Those that are have 0.947 and 0.95 at least (COVID-CT, cropped by 3 %
# on all sides; half a step into it), and most that are not end here, before the costly part.
_LEAST_CORRELATION = 0.93
# The same before the first step, where crops still show: 0.882 at least.
_UNALIGNED_CORRELATION = 0.8
# Pixels at the rim whose blur the picture's border cut off.
_RIM = 2


@dataclasses.dataclass(frozen=True)
class Alignment:
    """Two thumbnails where they overlap, without their rims.

    Attributes:
      fixed: float [height, width], the first thumbnail.
      moved: float [height, width], the second, laid over the first.
      scale: of the second against the first, (y, x).
      shift: of its middle, in pixels, (y, x).
    """

    fixed: np.ndarray
    moved: np.ndarray
    scale: tuple[float, float]
    shift: tuple[float, float]


@functools.lru_cache(maxsize=512)
def blurring(size: int, sigma: float) -> np.ndarray:
    """Gaussian weights along an axis, normalised at its ends, float [size, size]."""
    place = np.arange(size)
    weights = np.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of [height, width], normalised at the border."""
    height, width = image.shape
    return blurring(height, sigma) @ image @ blurring(width, sigma).T


def _sampling(places: np.ndarray, size: int) -> np.ndarray:
    """Weights that read an axis of `size` pixels at `places`, float [places, size].

    Cubic convolution with a = -1/2 (Keys, 1981).
    """
    distance = np.abs(places[:, None] - np.arange(size))
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    weights = np.where(distance <= 1.0, near, np.where(distance < 2.0, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)


class _Axis:
    """Where the pixels of an axis fall in the other picture: scale * (place - middle) + shift."""

    def __init__(self, size: int):
        self.size = size
        self.scale = 1.0
        self.shift = 0.0
        self.from_middle = np.arange(size) - (size - 1) / 2

    def places(self) -> np.ndarray:
        return self.scale * self.from_middle + self.shift + (self.size - 1) / 2

    def inside(self, rim: float) -> slice:
        places = self.places()
        whole = np.flatnonzero((places >= rim) & (places <= self.size - 1 - rim))
        return slice(int(whole[0]), int(whole[-1]) + 1)

    def strayed(self, scale: tuple[float, float], shift: float) -> bool:
        return not (scale[0] < self.scale < scale[1] and abs(self.shift) < shift * self.size)


def _step(
    fixed: np.ndarray, moving: tuple[np.ndarray, np.ndarray, np.ndarray], axes: tuple[_Axis, _Axis]
) -> tuple[float, float]:
    """One Gauss-Newton step for both axes, gain and offset.

    Returns:
      The correlation before it, 0 where there is none, and how far it moved the rim, in pixels.
    """
    down, across = axes
    rows, columns = down.inside(0.0), across.inside(0.0)
    read_rows = _sampling(down.places()[rows], down.size)
    read_columns = _sampling(across.places()[columns], across.size).T
    image, slope_y, slope_x = (read_rows @ part @ read_columns for part in moving)
    target = fixed[rows, columns]
    power = float((image * image).sum())
    product = float((image * target).sum())
    target_power = float((target * target).sum())
    if product <= 0.0 or power <= 0.0:
        return 0.0, 0.0
    gain = product / power
    derivatives = np.stack(
        [
            gain * slope_y,
            gain * slope_y * down.from_middle[rows, None],
            gain * slope_x,
            gain * slope_x * across.from_middle[columns],
            image,
            np.ones_like(image),
        ]
    ).reshape(6, -1)
    normal = derivatives @ derivatives.T
    # A little damping, for pictures whose edges all run one way.
    normal[np.diag_indices(6)] = normal.diagonal() * 1.0001 + 1e-9
    update = np.linalg.solve(normal, derivatives @ (target - gain * image).ravel())
    down.shift += update[0]
    down.scale += update[1]
    across.shift += update[2]
    across.scale += update[3]
    moved = max(
        abs(update[0]) + abs(update[1]) * down.size / 2,
        abs(update[2]) + abs(update[3]) * across.size / 2,
    )
    return product / (power * target_power) ** 0.5, float(moved)


def align(fixed: np.ndarray, moving: np.ndarray) -> Alignment | None:
    """Lay `moving` over `fixed`.

    Args:
      fixed: float [side, side], values in 0..1.
      moving: float [side, side], values in 0..1.

    Returns:
      What overlaps, or None where no small change of scale and shift makes them alike.
    """
    axes = _Axis(fixed.shape[0]), _Axis(fixed.shape[1])
    for sigma, steps in _LEVELS:
        target = blur(fixed, sigma) if sigma else fixed
        image = blur(moving, sigma) if sigma else moving
        target = target - blur(target, _BACKGROUND)
        image = image - blur(image, _BACKGROUND)
        parts = (image, np.gradient(image, axis=0), np.gradient(image, axis=1))
        for step in range(steps):
            correlation, moved = _step(target, parts, axes)
            # Nothing is laid over anything yet before the first step of all.
            begun = step > 0 or not sigma
            if correlation < (_LEAST_CORRELATION if begun else _UNALIGNED_CORRELATION) or any(
                axis.strayed(_SCALE_UNDERWAY, _SHIFT_UNDERWAY) for axis in axes
            ):
                return None
            if moved < _SETTLED:
                break
    down, across = axes
    if any(axis.strayed(_SCALE, _SHIFT) for axis in axes):
        return None
    rows, columns = (_without_rim(axis) for axis in axes)
    laid_over = (
        _sampling(down.places()[rows], down.size)
        @ moving
        @ _sampling(across.places()[columns], across.size).T
    )
    return Alignment(
        fixed[rows, columns],
        np.clip(laid_over, 0.0, 1.0),
        (down.scale, across.scale),
        (down.shift, across.shift),
    )


def _without_rim(axis: _Axis) -> slice:
    inside = axis.inside(_RIM - 0.5)
    return slice(max(inside.start, _RIM), min(inside.stop, axis.size - _RIM))
