"""The operating point: the threshold above which the model decides for positive."""

from __future__ import annotations

import math

import numpy as np


def choose_threshold(
    probability: np.ndarray, labels: np.ndarray, target_sensitivity: float
) -> float:
    """The highest threshold that reaches a sensitivity on the validation split.

    It lies midway between the score it must include and the next lower one, so that neither
    rounding nor a hair's breadth decides.

    Args:
      probability: float [n], calibrated probabilities of validation slices.
      labels: int [n], 0 or 1; at least one of each.
      target_sensitivity: share of the positive slices that must be decided positive.

    Returns:
      The threshold; a slice is decided positive where probability >= threshold.
    """
    positives = np.sort(probability[labels == 1])[::-1]
    # The tolerance keeps 0.9 * 10 from asking for ten of ten.
    needed = max(1, math.ceil(target_sensitivity * len(positives) - 1e-9))
    included = positives[needed - 1]
    below = probability[probability < included]
    lower = below.max() if below.size else 0.0
    return float((included + lower) / 2.0)
