"""Smooth random fields for tissue texture and ragged edges, drawn once a size and then shifted."""

from __future__ import annotations

import functools

import numpy as np

# Every patient reads the same two fields at offsets of its own, whatever its label.
_SEED = 20200311
_GRAINS = {"cloud": 0.030, "mottle": 0.0055}


@functools.lru_cache(maxsize=8)
def _field(size: int, grain: str) -> np.ndarray:
    rng = np.random.default_rng([_SEED, sorted(_GRAINS).index(grain)])
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    reach = max(_GRAINS[grain] * size, 0.5)
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    # Two octaves: a smooth field and a finer, weaker one, since one Gaussian looks like fog.
    smooth = np.exp(-2.0 * (np.pi * frequency * reach) ** 2)
    finer = np.exp(-2.0 * (np.pi * frequency * reach / 2.5) ** 2)
    spectrum *= smooth + 0.35 * finer
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=(size, size))
    field /= field.std()
    doubled = np.tile(field.astype(np.float32), (2, 2))
    doubled.flags.writeable = False
    return doubled


def texture(
    size: int, grain: str, offset: tuple[float, float], window: tuple[slice, slice]
) -> np.ndarray:
    """A window of a periodic random field of mean 0 and variance 1.

    Args:
      size: rows and columns of the image; the field's grain grows with it.
      grain: `cloud` (3 % of the width) or `mottle` (half a percent).
      offset: (row, column) in [0, 1), where in the field the image's corner lies.
      window: rows and columns of the image, inside it.

    Returns:
      float32 of the shape of the window, read-only.
    """
    rows, columns = window
    top = (int(offset[0] * size) + rows.start) % size
    left = (int(offset[1] * size) + columns.start) % size
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return _field(size, grain)[top : top + height, left : left + width]
