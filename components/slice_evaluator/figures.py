"""The figures of an evaluation: what they are called, and what they are, with and without weights.

Each equals scikit-learn's; they are ours because a bootstrap needs them a thousand times, and one
sort of the answers is enough for all resamples. A figure that is undefined (0 / 0, as sensitivity
without a positive slice) is NaN. The expected calibration error has the bins and the weights that
`trainer.calibration` reports on the validation split; components must not import the trainer, and
a test holds the two together.
"""

from __future__ import annotations

import numpy as np

from components.slice_evaluator.answers import Answers

SENSITIVITY = "sensitivity"
SPECIFICITY = "specificity"
PPV = "ppv"
NPV = "npv"
ACCURACY = "accuracy"
F1 = "f1"
"""Of the positive class."""
F1_NEGATIVE = "f1_negative"
AUC = "auc"
AVERAGE_PRECISION = "average_precision"
BRIER = "brier"
CALIBRATION_ERROR = "calibration_error"
"""The expected calibration error, over equal-width bins of the probability."""
TN, FP, FN, TP = "tn", "fp", "fn", "tp"

COUNTS = (TN, FP, FN, TP)
"""The confusion matrix."""
FIGURES = (
    SENSITIVITY,
    SPECIFICITY,
    PPV,
    NPV,
    ACCURACY,
    F1,
    F1_NEGATIVE,
    AUC,
    AVERAGE_PRECISION,
    BRIER,
    CALIBRATION_ERROR,
)
"""All but the counts, in the order in which they are shown."""

_BINS = 10


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """A quotient that is NaN where the denominator is 0."""
    quotient = np.full(denominator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0.0)
    return quotient


def _columns(rows: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Columns by number, a new array [b, len(which)]."""
    # rows[:, which] would lie in memory column by column: slower to sum along a row, and with a
    # last bit that depends on how many rows there are.
    return np.take(rows, which, axis=1)


def _cumulated(weights: np.ndarray) -> np.ndarray:
    """Weight of the first 0, 1 ... n columns, float64 [b, n + 1]."""
    sums = np.zeros([weights.shape[0], weights.shape[1] + 1])
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


class _OneClass:
    """The answers of one label, from the highest probability down, a column each.

    Attributes:
      probability: float64 [k].
      positive: float64 [k], 1.0 where the decision is positive.
      unit: int [k], whose weight the row has.
    """

    def __init__(self, answers: Answers, unit: np.ndarray, label: int) -> None:
        which = np.flatnonzero(answers.label == label)
        # Rows that tie here have the same weight and the same error: any order of them will do.
        which = which[np.lexsort((unit[which], -answers.probability[which]))]
        self.probability = answers.probability[which]
        self.positive = answers.decision[which].astype(np.float64)
        self.unit = unit[which]
        self._squared_error = (self.probability - label) ** 2
        self._excess = self.probability - label
        bins = np.minimum((np.nan_to_num(self.probability) * _BINS).astype(int), _BINS - 1)
        self._first_of_bin = np.flatnonzero(np.diff(bins, prepend=-1))
        self._filled_bins = bins[self._first_of_bin]

    def at_least(self, probability: np.ndarray) -> np.ndarray:
        """How many rows have each of these probabilities or a higher one, int."""
        ascending = self.probability[::-1]
        return len(ascending) - np.searchsorted(ascending, probability, side="left")

    def above(self, probability: np.ndarray) -> np.ndarray:
        """How many rows have a higher probability than each of these, int."""
        ascending = self.probability[::-1]
        return len(ascending) - np.searchsorted(ascending, probability, side="right")

    def squared_error(self, weights: np.ndarray) -> np.ndarray:
        """Weighted sum of squared errors, float64 [b]."""
        # Not a matrix product, whose last bit depends on how many rows there are.
        errors: np.ndarray = np.sum(weights * self._squared_error, axis=1)
        return errors

    def excess_in_bins(self, weights: np.ndarray) -> np.ndarray:
        """Weighted sum of probability - label in every bin, float64 [b, bins]."""
        excess = np.zeros([len(weights), _BINS])
        if len(self.unit):
            excess[:, self._filled_bins] = np.add.reduceat(
                weights * self._excess, self._first_of_bin, axis=1
            )
        return excess


class WeightedFigures:
    """Answers arranged for taking their figures under many weightings at once.

    Arranging costs one sort; after it, b weightings of n rows cost O(b * n) time, and memory for
    about five float64 arrays [b, n].
    """

    def __init__(self, answers: Answers, unit: np.ndarray) -> None:
        """Arrange answers.

        Args:
          answers: n of them.
          unit: int [n], which weight each of them has: an index into the rows of weights.
        """
        self._negative, self._positive = (_OneClass(answers, unit, label) for label in (0, 1))
        self._ranked = not np.isnan(answers.probability).any()
        positive, negative = self._positive, self._negative
        self._positives_above = positive.above(negative.probability)
        self._positives_at_least = positive.at_least(negative.probability)
        self._true_at = positive.at_least(positive.probability)
        self._false_at = negative.at_least(positive.probability)

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The figures and the counts under each of several weightings.

        Args:
          weights: float64 [b, units], not negative; how much, or how often, a unit counts.

        Returns:
          float64 [b] by name: `FIGURES` and `COUNTS`.
        """
        of_negative = _columns(weights, self._negative.unit)
        of_positive = _columns(weights, self._positive.unit)
        tn, fp = (
            of_negative @ (1.0 - self._negative.positive),
            of_negative @ self._negative.positive,
        )
        fn, tp = (
            of_positive @ (1.0 - self._positive.positive),
            of_positive @ self._positive.positive,
        )
        found = {
            SENSITIVITY: _ratio(tp, tp + fn),
            SPECIFICITY: _ratio(tn, tn + fp),
            PPV: _ratio(tp, tp + fp),
            NPV: _ratio(tn, tn + fn),
            ACCURACY: _ratio(tp + tn, tp + tn + fp + fn),
            F1: _ratio(2.0 * tp, 2.0 * tp + fp + fn),
            F1_NEGATIVE: _ratio(2.0 * tn, 2.0 * tn + fp + fn),
        }
        if self._ranked:
            found |= self._of_probabilities(of_negative, of_positive)
        else:
            undefined = np.full(len(weights), np.nan)
            found |= dict.fromkeys((AUC, AVERAGE_PRECISION, BRIER, CALIBRATION_ERROR), undefined)
        return found | {TN: tn, FP: fp, FN: fn, TP: tp}

    def _of_probabilities(
        self, of_negative: np.ndarray, of_positive: np.ndarray
    ) -> dict[str, np.ndarray]:
        negatives, positives = _cumulated(of_negative), _cumulated(of_positive)
        all_negative, all_positive = negatives[:, -1], positives[:, -1]
        total = all_negative + all_positive

        # Mann and Whitney (1947): pairs in the right order, and half of those that tie.
        above = _columns(positives, self._positives_above)
        above += _columns(positives, self._positives_at_least)
        above *= of_negative
        auc = _ratio(above.sum(axis=1), 2.0 * all_negative * all_positive)
        del above

        # Each positive adds the precision among all that rank as high as it does, or higher.
        precision = _columns(positives, self._true_at)
        ranked = _columns(negatives, self._false_at)
        ranked += precision
        np.divide(precision, ranked, out=precision, where=ranked != 0.0)
        precision *= of_positive
        average_precision = _ratio(precision.sum(axis=1), all_positive)
        del precision, ranked

        brier = _ratio(
            self._negative.squared_error(of_negative) + self._positive.squared_error(of_positive),
            total,
        )
        # The mean over the bins, weighted by size, of |mean probability - share of positives|.
        excess = self._negative.excess_in_bins(of_negative)
        excess += self._positive.excess_in_bins(of_positive)
        return {
            AUC: auc,
            AVERAGE_PRECISION: average_precision,
            BRIER: brier,
            CALIBRATION_ERROR: _ratio(np.abs(excess).sum(axis=1), total),
        }


def figures(answers: Answers, weights: np.ndarray | None = None) -> dict[str, float]:
    """Every figure and count of answers, of slices or of patients.

    Args:
      answers: n of them.
      weights: float [n], how much each counts, not negative; None: all count once.

    Returns:
      `FIGURES` and `COUNTS` by name; NaN where undefined. Where a probability is NaN, all figures
      that need probabilities are.

    Raises:
      ValueError: weights of another shape, negative or not finite.
    """
    weights = np.ones(len(answers)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != answers.label.shape:
        raise ValueError(f"weights must be [{len(answers)}], not {list(weights.shape)}")
    if not (np.isfinite(weights) & (weights >= 0.0)).all():
        raise ValueError("weights must be finite and not negative")
    arranged = WeightedFigures(answers, np.arange(len(answers)))
    return {name: float(value[0]) for name, value in arranged.figures(weights[None, :]).items()}
