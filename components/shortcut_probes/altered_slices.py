"""Altered slices: a slice without its lungs, or without all but its border, in the stored form."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
import tensorflow as tf

from components.shortcut_probes.lung_mask import convex_hull, resample
from transform import ct_example
from transform.ct_example import StoredSlice
from transform.png16 import encode_png16

# What a mask misses is mostly opacity along the pleura: so much around it, as a share of the longer
# side, is filled too.
_MARGIN = 0.015

# From there the filling fades into what surrounds it, about as far as the chest wall is thick: an
# edge would draw the outline of what was there.
_FADE = 0.03
_SIDE = 256

# Muscle and blood, for a slice in which no tissue around the lungs can be seen.
_SOFT_TISSUE_HU = 40.0
_DARKEST_TISSUE_HU = -300.0

# Of each side: borders, letters and the marks of viewers lie within it. A body that fills its
# picture reaches that far, its lungs mostly do not.
_BORDER = 0.1

_STORED_MAX = 65535.0


def _region(lungs: np.ndarray) -> np.ndarray:
    """The symmetric convex region around both lungs, bool [h, w].

    Mirrored between their outermost columns, so that what an opacity hides of one side is made up
    for by the other.
    """
    columns = np.flatnonzero(lungs.any(axis=0))
    first, last = columns[0], columns[-1] + 1
    both = lungs.copy()
    both[:, first:last] |= lungs[:, first:last][:, ::-1]
    return convex_hull(both)


def _weight(region: np.ndarray) -> np.ndarray:
    """1 in a region and close to it, falling to 0 around that, float32 [h, w]."""
    scale = min(1.0, _SIDE / max(region.shape))
    height, width = (max(1, round(scale * side)) for side in region.shape)
    small = resample(region.astype(np.float32), (height, width)) > 0.5
    away = scipy.ndimage.distance_transform_edt(~small) / max(height, width) - _MARGIN
    near = resample(np.clip(1.0 - away / _FADE, 0.0, 1.0).astype(np.float32), region.shape)
    # Without a bend at either end.
    smooth = near * near * (3.0 - 2.0 * near)
    return np.where(region, np.float32(1.0), smooth)


def lungs_blanked(hu: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """A slice whose lungs are replaced by one shade of the tissue around them.

    What is filled is not the lungs' own shape but the convex, symmetric region around both, with
    heart and mediastinum: neither the outline of a lung nor an opacity at its edge is left, also
    where the mask missed a part of one side. The shade is the median of the tissue around the
    region, into which it fades. What remains to be seen: how wide and high the inside of the chest
    is and where (so that the level of the slice can be guessed); the chest wall, with air in it or
    fluid outside of the region; a lung on the far side of a mask that found only one; and that a
    region has neither noise nor texture, which is so in every slice.

    Args:
      hu: float32 [h, w], HU.
      lungs: bool [h, w], as from `lung_mask`, with at least one pixel.

    Returns:
      float32 [h, w], HU.

    Raises:
      ValueError: there is no lung to blank.
    """
    if not lungs.any():
        raise ValueError("there is no lung to blank")
    weight = _weight(_region(lungs))
    around = hu[(weight > 0.0) & (weight < 1.0)]
    shade = float(np.median(around)) if around.size else -np.inf
    if shade < _DARKEST_TISSUE_HU:
        shade = _SOFT_TISSUE_HU
    return np.asarray(hu + weight * (np.float32(shade) - hu), np.float32)


def border(shape: tuple[int, ...]) -> np.ndarray:
    """The outer tenth of each side of a picture of a shape, bool [h, w]."""
    kept = np.ones(shape, bool)
    height, width = (max(1, round(_BORDER * side)) for side in shape)
    kept[height : shape[0] - height, width : shape[1] - width] = False
    return kept


def border_only(hu: np.ndarray) -> np.ndarray:
    """A slice of which only the border is left; the rest is the border's median.

    Args:
      hu: float32 [h, w], HU.

    Returns:
      float32 [h, w], HU.
    """
    kept = border(hu.shape)
    return np.where(kept, hu, np.median(hu[kept])).astype(np.float32)


def with_pixels(example: tf.train.Example, original: StoredSlice, hu: np.ndarray) -> bytes:
    """The same CT example with other pixels, serialised; no other feature changes.

    Args:
      example: of the slice.
      original: its slice.
      hu: float32 [h, w], HU; what cannot be stored becomes the nearest value that can. A pixel that
        has not changed keeps its stored value.
    """
    stored = (hu.astype(np.float64) - original.intercept) / original.slope
    stored = np.rint(np.clip(stored, 0.0, _STORED_MAX)).astype(np.uint16)
    stored = np.where(hu == original.hounsfield(), original.stored, stored)
    altered = tf.train.Example()
    altered.CopyFrom(example)
    features = altered.features.feature
    features[ct_example.IMAGE].bytes_list.value[:] = [encode_png16(stored)]
    return bytes(altered.SerializeToString(deterministic=True))
