"""Temperature scaling: making the probabilities mean what they say (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

# Beyond these a temperature only says that validation separates perfectly, or not at all.
_COLDEST, _HOTTEST = 0.05, 20.0


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Mean binary cross-entropy of labels in {0, 1} under sigmoid(logits / temperature)."""
    scaled = np.asarray(logits, np.float64) / temperature
    return float(np.mean(np.logaddexp(0.0, scaled) - labels * scaled))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes validation labels likeliest.

    Args:
      logits: float [n], the model's logits on validation slices.
      labels: int [n], 0 or 1.

    Returns:
      The temperature; probabilities are sigmoid(logit / temperature).
    """
    fitted = optimize.minimize_scalar(
        lambda log_temperature: negative_log_likelihood(logits, labels, np.exp(log_temperature)),
        bounds=(np.log(_COLDEST), np.log(_HOTTEST)),
        method="bounded",
    )
    return float(np.exp(fitted.x))


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Calibrated probabilities, float64 of the shape of `logits`."""
    return special.expit(np.asarray(logits, np.float64) / temperature)


def expected_calibration_error(
    probability: np.ndarray, labels: np.ndarray, bins: int = 10
) -> float:
    """Mean gap between stated and observed frequency over equal-width bins, weighted by size.

    Args:
      probability: float [n], of the positive class.
      labels: int [n], 0 or 1.
      bins: how many.
    """
    which = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [
        abs(probability[which == number].mean() - labels[which == number].mean())
        * (which == number).mean()
        for number in np.unique(which)
    ]
    return float(np.sum(gaps))
