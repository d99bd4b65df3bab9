"""Keys that bring slices of nearly the same perceptual hash into one bucket.

Locality-sensitive hashing by bit sampling (Indyk and Motwani, 1998) in several tables. What turns
bits is above all a crop, which shifts and zooms the picture. So a slice has its keys as they would
be after small shifts and zooms: of two pictures of which one is cropped, the one moved half way
meets the other moved half way back.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from components.ct_example_gen.near_duplicates.fingerprint import (
    HASH_SIZE,
    band_index,
    faded_cosines,
)
from components.ct_example_gen.near_duplicates.thumbnail import SIDE

TABLES = 4
BITS_A_KEY = 16
KEY_BYTES = 1 + -(-BITS_A_KEY // 8)

# Half of what cropping 3 % of one side moves the middle by, and rather more than half of what
# cropping 3 % on all sides zooms by.
_SHIFT = 0.0075
_ZOOM = 0.02
# (shift down, shift to the right, zoom). Crops of no side need none: such pictures meet anywhere.
_VIEWS = (
    *((down, right, 1.0) for down in (_SHIFT, -_SHIFT) for right in (_SHIFT, -_SHIFT)),
    (0.0, 0.0, 1.0 + _ZOOM),
    (0.0, 0.0, 1.0 - _ZOOM),
)
MOST_KEYS = TABLES * len(_VIEWS)


@functools.cache
def _shuffled(draw: int) -> list[int]:
    """The bits of a hash in an order that no version of a random generator can change."""
    places = [hashlib.sha256(f"{draw} {bit}".encode()).digest() for bit in range(HASH_SIZE)]
    return sorted(range(HASH_SIZE), key=places.__getitem__)


@functools.cache
def bit_order(table: int) -> np.ndarray:
    """The order in which a table reads the bits of a hash, int [HASH_SIZE]; its key is the head.

    Tables take their bits in turn from one shuffled row of all after another, so that a bit that
    turned spoils as few tables as can be.
    """
    row, start = divmod(table * BITS_A_KEY, HASH_SIZE)
    bits = [*_shuffled(row)[start:], *_shuffled(row + 1), *_shuffled(row)]
    return np.array(list(dict.fromkeys(bits)))


def sign_bits(perceptual_hash: bytes) -> np.ndarray:
    """The bits of a hash, bool [HASH_SIZE]."""
    return np.frombuffer(perceptual_hash, np.int8) > 0


@functools.cache
def _views() -> tuple[np.ndarray, np.ndarray]:
    """Cosines down and to the right for every view, float32 [view, frequency, SIDE]."""
    return (
        np.stack([faded_cosines(down, zoom) for down, _, zoom in _VIEWS]),
        np.stack([faded_cosines(right, zoom) for _, right, zoom in _VIEWS]),
    )


@functools.cache
def _heads() -> np.ndarray:
    return np.stack([bit_order(table)[:BITS_A_KEY] for table in range(TABLES)])


def bucket_keys(thumbnail: bytes) -> list[bytes]:
    """The buckets of a slice.

    Args:
      thumbnail: of a `Fingerprint` that is not featureless.

    Returns:
      Up to MOST_KEYS keys of KEY_BYTES bytes, none twice; the first byte is the table.
    """
    pixels = np.frombuffer(thumbnail, np.uint8).reshape(SIDE, SIDE).astype(np.float32)
    down, right = _views()
    coefficients = down @ (pixels - pixels.mean()) @ right.transpose(0, 2, 1)
    bits = coefficients[:, *band_index()][:, _heads()] > 0
    values = (bits @ (1 << np.arange(BITS_A_KEY))).tolist()
    keys = (
        table.to_bytes(1) + value.to_bytes(KEY_BYTES - 1)
        for of_view in values
        for table, value in enumerate(of_view)
    )
    return list(dict.fromkeys(keys))
