"""A running average of the weights over epochs (Polyak and Juditsky 1992)."""

from __future__ import annotations

import numpy as np


def running_average(
    average: list[np.ndarray] | None, weights: list[np.ndarray], share: float
) -> list[np.ndarray]:
    """The average after one more epoch: share * average + (1 - share) * weights.

    It begins as the weights of the first epoch: those from before, with a head that has learned
    nothing, have no part in it. BatchNorm's moving statistics are averaged like the weights that
    they belong to.

    Args:
      average: after the epochs before, None for the first.
      weights: of this epoch.
      share: that the average keeps of itself, in [0, 1).

    Returns:
      Arrays of the shapes and dtypes of `weights`; whole numbers (counters) are this epoch's.
    """
    if average is None:
        return weights
    return [
        (share * old + (1.0 - share) * new).astype(new.dtype)
        if np.issubdtype(new.dtype, np.floating)
        else new
        for old, new in zip(average, weights, strict=True)
    ]
