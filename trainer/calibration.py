"""Temperature scaling: making the probabilities mean what they say (Guo et al. 2017)."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import optimize, special

# Beyond these a temperature only says that the model's answers do not fit the labels at all.
_COLDEST, _HOTTEST = 0.05, 20.0


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Mean binary cross-entropy of labels in [0, 1] under sigmoid(logits / temperature)."""
    scaled = np.asarray(logits, np.float64) / temperature
    return float(np.mean(np.logaddexp(0.0, scaled) - labels * scaled))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes validation labels likeliest.

    Certainty is not what a few slices can show: labels count as (p + 1) / (p + 2) and 1 / (n + 2),
    with p positive and n negative slices (Platt 1999, section 2.2), so that a split that the model
    separates perfectly, or that has one class, does not drive the probabilities to 0 and 1.

    Args:
      logits: float [n], the model's logits on validation slices.
      labels: int [n], 0 or 1.

    Returns:
      The temperature; probabilities are sigmoid(logit / temperature). It is 1, which changes
      nothing, where no other makes the labels likelier.
    """
    positive = int(np.sum(labels))
    targets = np.where(
        labels == 1, (positive + 1) / (positive + 2), 1 / (len(labels) - positive + 2)
    )
    fitted = optimize.minimize_scalar(
        lambda log_temperature: negative_log_likelihood(logits, targets, np.exp(log_temperature)),
        bounds=(np.log(_COLDEST), np.log(_HOTTEST)),
        method="bounded",
    )
    temperature = float(np.exp(fitted.x))
    before, after = (negative_log_likelihood(logits, labels, one) for one in (1.0, temperature))
    return temperature if after < before else 1.0


def at_its_bound(temperature: float) -> bool:
    """Whether no temperature within reason was the best."""
    return not 1.02 * _COLDEST < temperature < _HOTTEST / 1.02


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Calibrated probabilities, float64 of the shape of `logits`."""
    return special.expit(np.asarray(logits, np.float64) / temperature)


@dataclasses.dataclass(frozen=True)
class ReliabilityBins:
    """Slices by the probability that was stated, in bins of equal width; empty bins left out.

    Attributes:
      stated: float64 [b], mean probability in each bin.
      observed: float64 [b], share of positive slices.
      slices: int [b], how many.
    """

    stated: np.ndarray
    observed: np.ndarray
    slices: np.ndarray


def reliability_bins(
    probability: np.ndarray, labels: np.ndarray, bins: int = 10
) -> ReliabilityBins:
    """Compare stated and observed frequency.

    Args:
      probability: float [n], of the positive class.
      labels: int [n], 0 or 1.
      bins: how many.
    """
    which = np.minimum((probability * bins).astype(int), bins - 1)
    slices = np.bincount(which, minlength=bins)
    filled = slices > 0
    stated, observed = (
        np.bincount(which, weights=values, minlength=bins)[filled] / slices[filled]
        for values in (probability, labels)
    )
    return ReliabilityBins(stated, observed, slices[filled])


def expected_calibration_error(
    probability: np.ndarray, labels: np.ndarray, bins: int = 10
) -> float:
    """Mean gap between stated and observed frequency over equal-width bins, weighted by size.

    Args:
      probability: float [n], of the positive class.
      labels: int [n], 0 or 1.
      bins: how many.
    """
    found = reliability_bins(probability, labels, bins)
    return float(np.average(np.abs(found.stated - found.observed), weights=found.slices))
