"""The misfit of two thumbnails: how far they are from showing the same picture."""

from __future__ import annotations

import numpy as np

from components.ct_example_gen.near_duplicates.alignment import align, blur
from components.ct_example_gen.near_duplicates.thumbnail import SIDE

# Greatest misfit of the same picture.
SAME_PICTURE = 1.2

# What two thumbnails of one picture may differ by, in shares of the range of grey levels: noise of
# compression and rounding where a picture has the contrast _CONTRAST (its standard deviation),
# and a share of the slope, since edges move by what the alignment and the resampling err by.
_NOISE = 0.006
_CONTRAST = 0.25
_EDGE = 0.08
# A difference counts at most so often its tolerance squared: letters and arrows are few pixels.
_CAP = 16.0
# What is smoother than this (pixels) in the difference is a matter of tone.
_BACKGROUND = 4.0

# A picture whose window ends here lost what lies beyond: this close to its own white or black
# (shares of the range), on more than this share of its pixels.
_CUT_OFF_WITHIN = 0.03
_CUT_OFF_SHARE = 0.03
# How far from there a pixel, being an average, is still touched by the loss.
_TOUCHED_WHITE = 0.3
_TOUCHED_BLACK = 0.04
# Pixels without weight keep this much, so that nothing is divided by zero.
_LEAST_WEIGHT = 0.02
# Mean weight below which too little is left to compare.
_ENOUGH_WEIGHT = 0.1


def _cut_off(image: np.ndarray) -> tuple[float, float]:
    """Shares of pixels at the picture's own black and at its white."""
    return (
        float((image < image.min() + _CUT_OFF_WITHIN).mean()),
        float((image > image.max() - _CUT_OFF_WITHIN).mean()),
    )


def _weight(image: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """How far each pixel of a part is untouched by the ends of its picture's window, 0..1."""
    weight = np.ones_like(image)
    black, white = _cut_off(whole)
    if white > _CUT_OFF_SHARE:
        weight *= np.clip((whole.max() - image) / _TOUCHED_WHITE, 0.0, 1.0)
    if black > _CUT_OFF_SHARE:
        weight *= np.clip((image - whole.min()) / _TOUCHED_BLACK, 0.0, 1.0)
    return weight


def _slope_squared(image: np.ndarray) -> np.ndarray:
    down, across = np.gradient(image)
    return down**2 + across**2


def _in_the_tone_of(target: np.ndarray, image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`image` with its grey levels mapped to fit `target` best.

    The map is cubic in the grey level, with terms in the squared slope: the average of a mapped
    pixel is not the mapped average, and differs by what varies inside the pixel.
    """
    low, high = np.percentile(image, (1, 99))
    level = ((image - low) / (high - low + 1e-6)).ravel()
    slope = _slope_squared(image).ravel()
    slope /= slope.mean() + 1e-9
    terms = np.stack(
        [
            np.ones_like(level),
            level,
            level**2,
            level**3,
            slope,
            slope * level,
            slope * level**2,
        ]
    )
    weighted = terms * weight.ravel()
    normal = weighted @ terms.T
    normal[np.diag_indices(len(normal))] += 1e-5 * np.trace(normal) / len(normal)
    return (np.linalg.solve(normal, weighted @ target.ravel()) @ terms).reshape(target.shape)


def misfit(first: bytes, second: bytes) -> float:
    """How much two pictures differ that scale, shift and tone do not explain.

    Args:
      first: thumbnail of a `Fingerprint`.
      second: likewise.

    Returns:
      The root mean square of the remaining difference, in units of what resampling and compression
      leave: below 1 for most changes to one picture, `SAME_PICTURE` at most; infinite where the
      two cannot be laid over each other, or where too little is left to compare.
    """
    fixed, moving = (
        np.frombuffer(part, np.uint8).reshape(SIDE, SIDE).astype(np.float64) / 255.0
        for part in (first, second)
    )
    # The tone of the fuller picture can be mapped to that of the one cut off, not back.
    if (sum(_cut_off(moving)), second) > (sum(_cut_off(fixed)), first):
        fixed, moving = moving, fixed
    alignment = align(fixed, moving)
    if alignment is None:
        return float("inf")
    target, image = alignment.fixed, alignment.moved
    weight = _weight(target, fixed) * _weight(image, moving)
    if weight.mean() < _ENOUGH_WEIGHT:
        return float("inf")
    weight += _LEAST_WEIGHT
    total = weight.sum()
    difference = target - _in_the_tone_of(target, image, weight)
    difference -= blur(difference * weight, _BACKGROUND) / blur(weight, _BACKGROUND)
    mean = (target * weight).sum() / total
    contrast = float(np.sqrt((((target - mean) ** 2) * weight).sum() / total)) / _CONTRAST
    tolerance = (_NOISE * contrast) ** 2 + _EDGE**2 * blur(_slope_squared(target), 0.7)
    ratio = np.minimum(difference**2 / (tolerance + 1e-12), _CAP)
    return float(np.sqrt((ratio * weight).sum() / total))
