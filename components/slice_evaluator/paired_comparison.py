"""Two models on the same slices: how far apart they are, and whether chance can have done it.

Differences are candidate minus baseline. Their intervals are by bootstrap over patients, with the
same patients drawn for both. DeLong's and McNemar's tests take every row for an independent
witness: for slices, of which a patient has several, their p values are too small; for answers by
patient (`answers.by_patient`) they mean what they say.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import special, stats

from components.slice_evaluator.answers import Answers
from components.slice_evaluator.figures import AUC, SENSITIVITY, SPECIFICITY, figures
from components.slice_evaluator.patient_bootstrap import CONFIDENCE, interval, resample_together
from transform.errors import BadDataError


@dataclasses.dataclass(frozen=True)
class Difference:
    """One figure of two models.

    Attributes:
      baseline: of the one model.
      candidate: of the other.
      difference: candidate minus baseline.
      lower: lower end of the difference's 95 % interval, by paired bootstrap over patients.
      upper: its upper end.
    """

    baseline: float
    candidate: float
    difference: float
    lower: float
    upper: float


@dataclasses.dataclass(frozen=True)
class DeLong:
    """DeLong's test of two AUCs, with rows as independent witnesses.

    Attributes:
      difference: candidate minus baseline.
      lower: lower end of the difference's 95 % interval, normal approximation.
      upper: its upper end.
      p_value: two-sided, of no difference.
    """

    difference: float
    lower: float
    upper: float
    p_value: float


@dataclasses.dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of decisions, with rows as independent witnesses.

    Attributes:
      only_baseline_right: rows that the baseline alone decides rightly.
      only_candidate_right: rows that the candidate alone decides rightly.
      p_value: two-sided, of both being as often right; 1 where no row tells them apart.
    """

    only_baseline_right: int
    only_candidate_right: int
    p_value: float


@dataclasses.dataclass(frozen=True)
class PairedComparison:
    """What tells two models apart on the same rows.

    Attributes:
      rows: how many slices, or patients.
      patients: how many patients.
      auc: of both models.
      sensitivity: of both models, each at its own operating point.
      specificity: likewise.
      delong: of the AUCs.
      mcnemar: of the decisions.
    """

    rows: int
    patients: int
    auc: Difference
    sensitivity: Difference
    specificity: Difference
    delong: DeLong
    mcnemar: McNemar


def compare(baseline: Answers, candidate: Answers, resamples: int, seed: int) -> PairedComparison:
    """Compare two models on the same slices or patients.

    Args:
      baseline: answers of one model.
      candidate: answers of the other to the same slices, row by row (see
        `answers.paired_answers`).
      resamples: of the patients.
      seed: of the resamples.

    Raises:
      BadDataError: labels or patients of the two differ.
    """
    _check_rows(baseline, candidate)
    found = figures(baseline), figures(candidate)
    drawn = resample_together([baseline, candidate], resamples, seed)

    def difference(name: str) -> Difference:
        before, after = (one[name] for one in found)
        lower, upper = np.nan, np.nan
        # One patient says nothing of how patients differ.
        if baseline.patients > 1:
            lower, upper = interval(drawn[1][name] - drawn[0][name], CONFIDENCE)
        return Difference(before, after, after - before, lower, upper)

    return PairedComparison(
        rows=len(baseline),
        patients=baseline.patients,
        auc=difference(AUC),
        sensitivity=difference(SENSITIVITY),
        specificity=difference(SPECIFICITY),
        delong=delong(baseline, candidate),
        mcnemar=mcnemar(baseline, candidate),
    )


def _check_rows(baseline: Answers, candidate: Answers) -> None:
    if not (
        np.array_equal(baseline.label, candidate.label)
        and np.array_equal(baseline.patient, candidate.patient)
    ):
        raise BadDataError(
            f"two models cannot be compared: their {len(baseline)} and {len(candidate)} test "
            "slices differ in labels or patients; evaluate both on one test split"
        )


def delong(baseline: Answers, candidate: Answers) -> DeLong:
    """DeLong's test (DeLong, DeLong and Clarke-Pearson 1988) by midranks (Sun and Xu 2014).

    Args:
      baseline: answers of one model.
      candidate: answers of the other to the same slices or patients, row by row.

    Returns:
      The test. NaN where it is undefined: fewer than two rows of a class, a probability that is
      NaN, or AUCs that differ without any variance. Models that rank every row alike have p = 1.

    Raises:
      BadDataError: labels or patients of the two differ.
    """
    _check_rows(baseline, candidate)
    of_baseline, of_candidate = _placements(baseline), _placements(candidate)
    positives, negatives = (len(one) for one in of_baseline)
    if min(positives, negatives) < 2:
        return DeLong(np.nan, np.nan, np.nan, np.nan)
    # Midranks and their differences are multiples of a half, hence exact, until here.
    by_positive, by_negative = (
        after - before for before, after in zip(of_baseline, of_candidate, strict=True)
    )
    difference = float(by_positive.sum() / (positives * negatives))
    # The variance of the difference at once: what S10 / m + S01 / n is for the contrast (-1, 1).
    variance = float(
        by_positive.var(ddof=1) / (positives * negatives**2)
        + by_negative.var(ddof=1) / (negatives * positives**2)
    )
    if variance == 0.0 and difference != 0.0:
        return DeLong(difference, np.nan, np.nan, np.nan)
    error = np.sqrt(variance)
    half_width = float(special.ndtri((1.0 + CONFIDENCE) / 2.0) * error)
    p_value = 1.0 if variance == 0.0 else float(2.0 * special.ndtr(-abs(difference) / error))
    return DeLong(difference, difference - half_width, difference + half_width, p_value)


def _placements(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """How many rows of the other class each row is above, those that tie by half.

    Returns:
      Of each positive row the negatives below it, float64 [positives]; of each negative row the
      positives above it, float64 [negatives].
    """
    positive = answers.label == 1
    among_all = stats.rankdata(answers.probability)
    among_positives = stats.rankdata(answers.probability[positive])
    among_negatives = stats.rankdata(answers.probability[~positive])
    return (
        among_all[positive] - among_positives,
        positive.sum() - (among_all[~positive] - among_negatives),
    )


def mcnemar(baseline: Answers, candidate: Answers) -> McNemar:
    """McNemar's test (1947), exact: the rows that one model alone decides rightly are a coin's.

    Args:
      baseline: answers of one model.
      candidate: answers of the other to the same slices or patients, row by row.

    Raises:
      BadDataError: labels or patients of the two differ.
    """
    _check_rows(baseline, candidate)
    before = baseline.decision == baseline.label
    after = candidate.decision == candidate.label
    only_baseline, only_candidate = int(np.sum(before & ~after)), int(np.sum(after & ~before))
    discordant = only_baseline + only_candidate
    p_value = stats.binomtest(only_candidate, discordant).pvalue if discordant else 1.0
    return McNemar(only_baseline, only_candidate, float(p_value))
