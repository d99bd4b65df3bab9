"""Intervals by bootstrap over patients: all slices of a patient are drawn, or none.

Slices of one patient are no independent witnesses, so that resampling slices would give intervals
that are too narrow (Efron and Tibshirani 1993, chapter 8; Rutter 2000 for clustered readings).
Intervals are percentiles. Of a figure that is 1 in the split, as sensitivity where nothing was
missed, all resamples are 1, and so are both ends: such an interval says less than it seems to.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from components.slice_evaluator.answers import Answers
from components.slice_evaluator.figures import WeightedFigures

CONFIDENCE = 0.95

# Resamples are made in blocks of so many weights of slices: five arrays of 4 MB, whatever the
# number of resamples; beyond so many slices, five arrays of the slices.
_BLOCK = 500_000

# Bytes of a patient's digest: two patients with different answers never share one.
_DIGEST = 16


def patient_ranks(several: Sequence[Answers]) -> np.ndarray:
    """The patients' places in an order that depends on nothing but the answers, int [n].

    Patients are ordered by a digest of the labels, probabilities and decisions of their slices.
    Neither their codes, which come from ids that are hashes under a key, nor the order of rows then
    decide which of them a seed draws; patients whose answers are all the same can stand for each
    other.

    Args:
      several: answers of one or more models to the same slices, row by row.
    """
    patient = several[0].patient
    columns = [several[0].label]
    for answers in several:
        # NaN has no place in an order; and what is equal must have the same bytes, 0 and -0, too.
        columns += [np.nan_to_num(answers.probability, nan=-1.0) + 0.0, answers.decision]
    order = np.lexsort((*columns[::-1], patient))
    # Of the same bytes on every machine.
    rows = np.stack([column[order] for column in columns], axis=1).astype("<f8")
    ends = np.cumsum(np.bincount(patient, minlength=several[0].patients))
    digests = [
        hashlib.blake2b(rows[start:end].tobytes(), digest_size=_DIGEST).digest()
        for start, end in itertools.pairwise([0, *ends.tolist()])
    ]
    rank = np.empty(len(digests), int)
    rank[np.argsort(np.array(digests, f"S{_DIGEST}"))] = np.arange(len(digests))
    return np.take(rank, patient)


def draws(patients: int, resamples: int, seed: int, block: int) -> Iterator[np.ndarray]:
    """How often each patient is in each resample, as many drawn with replacement as there are.

    Args:
      patients: how many (m).
      resamples: how many.
      seed: the same seed draws the same, whatever the block.
      block: how many resamples to hold at a time.

    Yields:
      float64 [block or fewer, m], multinomial.
    """
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(max(1, patients), size=(rows, patients))
        drawn += patients * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * patients)
        yield times.reshape(rows, patients).astype(np.float64)


def resample_together(
    several: Sequence[Answers], resamples: int, seed: int
) -> list[dict[str, np.ndarray]]:
    """The figures of several models in the same resamples of patients.

    Args:
      several: answers of the models to the same slices, row by row.
      resamples: how many.
      seed: of the draws; the figures depend on it and on the answers, but neither on the order of
        rows nor on the patients' codes.

    Returns:
      float64 [resamples] by figure, for each model; see `figures.figures`.

    Raises:
      ValueError: fewer than one resample.
    """
    if resamples < 1:
        raise ValueError(f"resamples must be 1 or more, not {resamples}")
    ranks = patient_ranks(several)
    arranged = [WeightedFigures(answers, ranks) for answers in several]
    patients = several[0].patients
    block = max(1, _BLOCK // max(1, len(several[0])))
    blocks: list[list[dict[str, np.ndarray]]] = [[] for _ in several]
    for times in draws(patients, resamples, seed, block):
        for of_model, model in zip(blocks, arranged, strict=True):
            of_model.append(model.figures(times))
    return [
        {name: np.concatenate([one[name] for one in of_model]) for name in of_model[0]}
        for of_model in blocks
    ]


def resample(answers: Answers, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """The figures in resamples of the patients; see `resample_together`.

    Returns:
      float64 [resamples] by figure; NaN where a resample leaves a figure undefined.
    """
    return resample_together([answers], resamples, seed)[0]


def interval(values: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The percentile interval of a figure's values in resamples.

    Args:
      values: float [resamples]; NaN ones are left out.
      confidence: share of the values within.

    Returns:
      Lower and upper end; NaN where more than half of the values are, or there is none.

    Raises:
      ValueError: a confidence that is no share.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
    defined = values[~np.isnan(values)]
    if not len(defined) or 2 * len(defined) < len(values):
        return np.nan, np.nan
    outside = (1.0 - confidence) / 2.0
    lower, upper = np.quantile(defined, (outside, 1.0 - outside))
    return float(lower), float(upper)


def intervals(
    answers: Answers, resamples: int, seed: int, confidence: float = CONFIDENCE
) -> dict[str, tuple[float, float]]:
    """The interval of every figure.

    Args:
      answers: of slices, or of patients (see `answers.by_patient`).
      resamples: how many.
      seed: of the draws.
      confidence: share of the resamples within.

    Returns:
      Lower and upper end by figure. All are NaN where there are fewer than two patients, for one
      says nothing of how patients differ.
    """
    drawn = resample(answers, resamples, seed)
    if answers.patients < 2:
        return dict.fromkeys(drawn, (np.nan, np.nan))
    return {name: interval(values, confidence) for name, values in drawn.items()}
