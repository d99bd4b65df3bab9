"""The fingerprint of a slice: a perceptual hash to search by, and a thumbnail to verify with."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from components.ct_example_gen.near_duplicates.thumbnail import SIDE, thumbnail
from transform.ct_example import StoredSlice

# Sums of the two frequencies (half waves over the picture) that the hash reads. Below, all chests
# look alike; above, a crop of a few pixels turns the phase.
_BAND = (4, 11)
# The outer part of a side that fades out: it is what a crop takes away.
_FADE = 0.3
# Mean size of a coefficient after scaling, so that few of them are cut off at 127.
_MEAN_LEVEL = 24.0
# Mean coefficient, in grey levels of the thumbnail, below which there is nothing to hash. Constant
# slices and those with a table in air alone lie below, any section of a body far above.
_FEATURELESS = 1.5


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What is kept of a slice to find its near-duplicates; the same for the same pixels.

    Attributes:
      hash: int8 [HASH_SIZE] as bytes: mid-frequency coefficients, whose signs are the bits of the
        perceptual hash. All zero where a slice shows nothing.
      thumbnail: uint8 [SIDE, SIDE] as bytes, see `near_duplicates.thumbnail`.
    """

    hash: bytes
    thumbnail: bytes

    @property
    def featureless(self) -> bool:
        """Whether the slice shows too little to be told from any other."""
        return not any(self.hash)


def _band() -> np.ndarray:
    vertical, horizontal = np.mgrid[: _BAND[1] + 1, : _BAND[1] + 1]
    low, high = _BAND
    return (vertical + horizontal >= low) & (vertical + horizontal <= high)


HASH_SIZE = int(_band().sum())


def hash_likeness(first: bytes, second: bytes) -> float:
    """The cosine of two perceptual hashes with their sizes, -1 to 1: 1 for the same picture."""
    one, other = (np.frombuffer(part, np.int8).astype(np.float32) for part in (first, second))
    length = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / length if length else 0.0


@functools.cache
def faded_cosines(shift: float = 0.0, zoom: float = 1.0) -> np.ndarray:
    """The lowest rows of the orthonormal DCT-II, faded at the ends, float32 [frequency, SIDE].

    Args:
      shift: by how much of the side the pattern is moved.
      zoom: by how much the places are spread from the middle.
    """
    frequency = np.arange(_BAND[1] + 1)[:, None]
    place = 0.5 + ((np.arange(SIDE) + 0.5) / SIDE - 0.5) * zoom + shift
    cosines = np.cos(np.pi * frequency * place) * np.sqrt(2.0 / SIDE)
    inside = np.clip(np.minimum(place, 1.0 - place) * 2.0 / _FADE, 0.0, 1.0)
    return (cosines * inside**2 * (3.0 - 2.0 * inside)).astype(np.float32)


@functools.cache
def band_index() -> tuple[np.ndarray, ...]:
    """Where the coefficients of the hash are among those of `faded_cosines` in two directions."""
    return np.nonzero(_band())


def perceptual_hash(small: np.ndarray) -> bytes:
    """Mid-frequency cosine coefficients of a thumbnail, scaled to int8.

    Scaling by their own mean takes the contrast out, and the band leaves the brightness out.

    Args:
      small: uint8 [SIDE, SIDE].

    Returns:
      int8 [HASH_SIZE] as bytes.
    """
    pixels = small.astype(np.float32)
    cosines = faded_cosines()
    coefficients = (cosines @ (pixels - pixels.mean()) @ cosines.T)[band_index()]
    mean = float(np.abs(coefficients).mean())
    if mean < _FEATURELESS:
        return bytes(HASH_SIZE)
    levels = np.rint(coefficients * (_MEAN_LEVEL / mean))
    return np.clip(levels, -127, 127).astype(np.int8).tobytes()


def fingerprint(stored_slice: StoredSlice) -> Fingerprint:
    """Fingerprint a slice; HU are clipped to -1000..400, so a DICOM and its picture compare.

    Args:
      stored_slice: of any size.
    """
    small = thumbnail(stored_slice)
    return Fingerprint(perceptual_hash(small), small.tobytes())
