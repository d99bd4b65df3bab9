"""The intervals that an evaluation reports: by bootstrap, and no narrower than exact where few err.

A percentile bootstrap cannot draw an error that the split does not have: where nothing was missed,
both ends are 1, and where little was, the lower end is too high. A proportion that fewer than
`FEW_PATIENTS` patients have on one of its sides is therefore widened to Clopper and Pearson's
exact interval with a patient as one trial, however many slices there are of each. Slices of one
patient are no independent trials, and to take as many as there are patients is on the safe side
(Hanley and Lippman-Hand 1983 for no event at all; Korn and Graubard 1998 for clusters).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import special

from components.slice_evaluator import patient_bootstrap
from components.slice_evaluator.answers import Answers
from components.slice_evaluator.figures import (
    ACCURACY,
    NPV,
    PPV,
    SENSITIVITY,
    SPECIFICITY,
    figures,
)
from components.slice_evaluator.patient_bootstrap import CONFIDENCE

FEW_PATIENTS = 5
"""The usual rule for when a proportion needs exact methods. With 1, the interval would be exact
only where nothing was missed, and to miss one patient of a hundred would raise its lower end, from
0.964 to 0.968. In a simulation of 1 to 5 slices of each of 30 patients with a true proportion of
0.95, a lower end that should be above it in 1 of 40 studies was so in 14 to 23 of 100 by bootstrap
alone, in 10 of 100 with 1 here, and in none with 5; with 60 patients in 10 to 13, 10 and less than
1 of 100."""


def clopper_pearson(
    right: float, trials: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The exact interval of a proportion (Clopper and Pearson 1934).

    Args:
      right: how many trials went right; it need not be whole, as where a patient counts by the
        share of their slices.
      trials: how many there were, at least one.
      confidence: of the interval.

    Returns:
      Lower and upper end.
    """
    outside = (1.0 - confidence) / 2.0
    wrong = trials - right
    # The ends are quantiles of beta distributions, which end at 0 and 1.
    lower = special.betaincinv(right, wrong + 1.0, outside) if right > 0.0 else 0.0
    upper = special.betaincinv(right + 1.0, wrong, 1.0 - outside) if wrong > 0.0 else 1.0
    return float(lower), float(upper)


def _proportions(answers: Answers) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Figures that are shares of rows: name, bool [n] of which rows, bool [n] which are right."""
    label, decision = answers.label == 1, answers.decision == 1
    right = label == decision
    yield SENSITIVITY, label, right
    yield SPECIFICITY, ~label, right
    yield PPV, decision, right
    yield NPV, ~decision, right
    yield ACCURACY, np.ones_like(label), right


def confidence_intervals(
    answers: Answers, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of every figure.

    Args:
      answers: of slices, or of patients (see `answers.by_patient`).
      resamples: of the patients.
      seed: of the resamples.

    Returns:
      Lower and upper end by figure; NaN where `patient_bootstrap.intervals` has NaN.
    """
    found = patient_bootstrap.intervals(answers, resamples, seed, CONFIDENCE)
    values = figures(answers)
    for name, among, right in _proportions(answers):
        lower, upper = found[name]
        if np.isnan(lower):
            continue
        sides = (np.unique(answers.patient[among & side]).size for side in (right, ~right))
        if min(sides) < FEW_PATIENTS:
            trials = np.unique(answers.patient[among]).size
            exact = clopper_pearson(values[name] * trials, trials)
            found[name] = min(lower, exact[0]), max(upper, exact[1])
    return found
