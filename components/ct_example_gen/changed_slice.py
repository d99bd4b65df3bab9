"""A slice changed at random before it is split, as the paper did: moved, mirrored, shrunk.

Training on slices that are split first is augmented by the Trainer, on the device and anew in every
epoch; this is for the paper's order alone.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy.ndimage

from transform.augmentation_limits import AugmentationLimits
from transform.ct_example import StoredSlice
from transform.reading.dicom_hounsfield import AIR_HU

_STORED_MAX = 65535.0


@dataclasses.dataclass(frozen=True)
class SliceChanges(AugmentationLimits):
    """How far a slice may be changed, in HU.

    Attributes:
      hu_range: HU that the model can tell apart; brightness and contrast clip to them first.
    """

    hu_range: tuple[float, float] = (-1000.0, 400.0)


def change_slice(
    stored_slice: StoredSlice, changes: SliceChanges, generator: np.random.Generator
) -> StoredSlice:
    """Change a slice at random; it keeps its size and its linear map to HU.

    What comes in from outside is air (-1000 HU), or the nearest to it that the slice can store.

    Args:
      stored_slice: of any size from one pixel on.
      changes: how far.
      generator: is asked for the same amount of randomness whatever the changes are.
    """
    turned, scaled, down, across, mirrored, brighter, steeper = generator.random(7)
    scale = 1.0 - changes.zoom + scaled * (changes.zoom + changes.pad)
    angle = math.radians(changes.rotation) * (2.0 * turned - 1.0)
    size = np.array(stored_slice.stored.shape, float)
    middle = (size - 1.0) / 2.0
    moved = changes.shift * (2.0 * np.array([down, across]) - 1.0) * size
    cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
    to_source = np.array([[cosine, -sine], [sine, cosine]])
    if changes.flip and mirrored < 0.5:
        to_source[:, 1] *= -1.0
    # Interpolating stored values is interpolating HU: one is linear in the other.
    stored = scipy.ndimage.affine_transform(
        stored_slice.stored,
        to_source,
        offset=middle + moved - to_source @ middle,
        output=np.float32,
        order=1,
        mode="constant",
        cval=_to_stored(np.array(AIR_HU), stored_slice).item(),
    )
    if changes.brightness or changes.contrast:
        low, high = changes.hu_range
        hounsfield = np.clip(stored * stored_slice.slope + stored_slice.intercept, low, high)
        mean = hounsfield.mean()
        factor = 1.0 + changes.contrast * (2.0 * steeper - 1.0)
        added = changes.brightness * (2.0 * brighter - 1.0) * (high - low)
        stored = _to_stored((hounsfield - mean) * factor + mean + added, stored_slice)
    spacing = stored_slice.spacing
    return dataclasses.replace(
        stored_slice,
        stored=np.rint(stored).astype(np.uint16),
        spacing=None if spacing is None else spacing * scale,
    )


def _to_stored(hounsfield: np.ndarray, stored_slice: StoredSlice) -> np.ndarray:
    """Stored values of HU, not rounded, the nearest where they cannot be stored."""
    stored = (hounsfield - stored_slice.intercept) / stored_slice.slope
    return np.clip(stored, 0.0, _STORED_MAX)
