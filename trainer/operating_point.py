"""The operating point: the threshold from which on the model decides for positive.

A threshold read off one validation split hangs on the few slices next to it, and slices of one
patient are no independent witnesses. So the split's patients are drawn anew many times (bootstrap,
with all slices of a patient together), the rule chooses a threshold in each resample, and a summary
of those thresholds is used.

Which summary was decided by simulation (binormal scores, AUC 0.94, that vary between and within
patients; 30 to 200 patients, 2 to 5 slices each, target 0.9), judged on fresh patients:

- "sensitivity": the threshold of the split itself reaches the target in fewer than half of the
  studies (0.46 to 0.50), and so does the resamples' median. Their lower quartile reaches it in 0.64
  to 0.69 of them, with a sensitivity that varies less (standard deviation 0.044 for 0.051 at 60
  patients), and costs 0.02 to 0.05 of specificity. The quartile is what is used.
- "youden": the resamples' mean takes a third off the standard deviation of both sensitivity and
  specificity at the split's own best threshold (0.041 for 0.063 at 60 patients), and their sum
  rises a little.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from transform.errors import BadDataError
from transform.training_record import FIXED_RULE, SENSITIVITY_RULE, Interval, OperatingPoint

_QUARTILE = 0.25
_INTERVAL = (0.025, 0.975)
# Resamples are made in blocks of so many drawn slices, which bounds memory.
_BLOCK = 2_000_000


@dataclasses.dataclass(frozen=True)
class _Answers:
    """What the model said of the validation slices, from the highest probability down.

    Attributes:
      probability: float64 [n], as float32, which is what the exported model compares, can tell.
      positive: bool [n].
      patient: int [n], from 0 to `patients` - 1.
      patients: how many there are.
    """

    probability: np.ndarray
    positive: np.ndarray
    patient: np.ndarray
    patients: int

    @classmethod
    def of(cls, probability: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> _Answers:
        """Sort the answers.

        Args:
          probability: float [n], calibrated.
          labels: int [n], 0 or 1; at least one of each.
          patients: str or bytes [n], whose slice it is.

        Raises:
          BadDataError: a class is missing.
        """
        if len(np.unique(labels)) < 2:
            raise BadDataError(
                "the validation split has slices of one class only, and an operating point needs "
                "both; give it slices of the other"
            )
        rounded = np.asarray(probability, np.float32).astype(np.float64)
        order = np.lexsort((labels, -rounded))
        rounded, positive = rounded[order], np.asarray(labels)[order] == 1
        patient = np.unique(np.asarray(patients)[order], return_inverse=True)[1]
        answers: list[list[tuple[float, bool]]] = [[] for _ in range(patient.max() + 1)]
        for one, score, is_positive in zip(patient, rounded, positive, strict=True):
            answers[one].append((score, is_positive))
        # By their answers and not their names, which are hashes under a key that differs between
        # workdirs: the same draws are the same patients everywhere.
        rank = np.argsort(sorted(range(len(answers)), key=answers.__getitem__))
        return cls(rounded, positive, rank[patient], len(answers))

    def resamples(self, count: int, seed: int) -> Iterator[np.ndarray]:
        """How often each patient is drawn, int [block, patients], in `count` resamples together.

        Resamples without one of the classes are left out; where none is left, the split itself is
        the only one. The same seed draws the same.
        """
        generator = np.random.default_rng(seed)
        rows = max(1, _BLOCK // max(self.patients, len(self.patient)))
        some = False
        for start in range(0, count, rows):
            block = min(rows, count - start)
            drawn = generator.integers(self.patients, size=(block, self.patients))
            drawn += self.patients * np.arange(block)[:, None]
            times = np.bincount(drawn.ravel(), minlength=block * self.patients)
            times = times.reshape(block, self.patients)
            both = np.logical_and(
                *(times @ self._count(self.positive == of) > 0 for of in (True, False))
            )
            some = some or bool(both.any())
            yield times[both]
        if not some:
            yield np.ones([1, self.patients], int)

    def rates_in_resamples(
        self, thresholds: np.ndarray, resamples: Iterable[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sensitivity and specificity at thresholds, in resamples.

        Args:
          thresholds: float [t].
          resamples: blocks of int [block, patients], how often each patient is drawn; one is
            held at a time.

        Returns:
          Two float64 [r, t].
        """
        # Slices of each patient, and those of them that a threshold decides rightly; once for all
        # resamples, so that the cost grows with the slices alone.
        of_class = [self._count(self.positive == of) for of in (True, False)]
        right = [
            np.stack(
                [
                    self._count((self.positive == of) & ((self.probability >= one) == of))
                    for one in thresholds
                ],
                axis=1,
            )
            for of in (True, False)
        ]
        of_blocks: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        # One block at a time, whose rates are far smaller than itself.
        for block in resamples:
            times = block.astype(np.float64)
            for rates, hits, all_of in zip(of_blocks, right, of_class, strict=True):
                rates.append(times @ hits / (times @ all_of)[:, None])
        sensitivity, specificity = map(np.concatenate, of_blocks)
        return sensitivity, specificity

    def _count(self, which: np.ndarray) -> np.ndarray:
        """Slices of each patient, float64 [patients], among those marked."""
        return np.bincount(self.patient, weights=which, minlength=self.patients)

    def cuts(self) -> tuple[np.ndarray, np.ndarray]:
        """Every threshold that makes a difference, from the highest down.

        Returns:
          float64 [c], midway between a probability and the next lower one (0 after the lowest), so
          that neither rounding nor a hair's breadth decides; and int [c], the last slice above.
        """
        last = np.flatnonzero(np.append(np.diff(self.probability) != 0, True))
        above = self.probability[last]
        return (above + np.append(above[1:], 0.0)) / 2.0, last

    def midway(self, threshold: float) -> float:
        """The cut that decides every slice as `threshold` does."""
        above = self.probability[self.probability >= threshold].min()
        below = self.probability[self.probability < threshold]
        lower = below.max() if below.size else 0.0
        middle = float(np.float32((above + lower) / 2.0))
        # The exported model compares in float32, in which neighbours have no number between them.
        return middle if middle > lower else float(above)

    def choose(self, times: np.ndarray, target_sensitivity: float | None) -> np.ndarray:
        """The threshold that a rule chooses in each resample.

        Args:
          times: int [r, patients], how often each patient is drawn.
          target_sensitivity: take the highest cut that reaches it; None: take the middle of the
            cuts at which sensitivity + specificity is highest (Youden 1950).

        Returns:
          float64 [r].
        """
        cuts, last = self.cuts()
        weight = times[:, self.patient]
        # Of the slices at or above each cut; integers, so that equal sums are seen to be equal.
        true = np.cumsum(weight * self.positive, axis=1)[:, last]
        false = np.cumsum(weight * ~self.positive, axis=1)[:, last]
        if target_sensitivity is not None:
            # The tolerance keeps 0.9 * 10 from asking for ten of ten.
            needed = np.maximum(1.0, np.ceil(target_sensitivity * true[:, -1:] - 1e-9))
            return cuts[np.argmax(true >= needed, axis=1)]
        gain = true * false[:, -1:] - false * true[:, -1:]
        first = np.argmax(gain, axis=1)
        final = gain.shape[1] - 1 - np.argmax(gain[:, ::-1], axis=1)
        return cuts[(first + final) // 2]


def choose_operating_point(
    probability: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    rule: str | float,
    target_sensitivity: float,
    resamples: int,
    seed: int,
) -> OperatingPoint:
    """Choose the threshold on the validation split.

    Args:
      probability: float [n], calibrated probabilities of validation slices.
      labels: int [n], 0 or 1; at least one of each.
      patients: str or bytes [n], whose slice it is.
      rule: "sensitivity" (the lower quartile over the resamples of the highest threshold that
        reaches `target_sensitivity`, and on the split itself it is always reached), "youden" (their
        mean of the threshold where sensitivity + specificity is highest), or the threshold itself.
      target_sensitivity: share of the positive slices that must be decided positive.
      resamples: how many.
      seed: of the resamples.

    Returns:
      The operating point; but for a threshold that was given, it lies midway between two
      probabilities of the split.

    Raises:
      BadDataError: a class is missing.
    """
    answers = _Answers.of(probability, labels, patients)
    if isinstance(rule, str):
        target = target_sensitivity if rule == SENSITIVITY_RULE else None
        chosen = np.concatenate(
            [answers.choose(times, target) for times in answers.resamples(resamples, seed)]
        )
        if target is None:
            summary = chosen.mean()
        else:
            every_patient = np.ones([1, answers.patients], int)
            summary = min(np.quantile(chosen, _QUARTILE), *answers.choose(every_patient, target))
        threshold = answers.midway(summary)
    else:
        threshold, chosen = float(rule), np.array([rule])
    sensitivity, specificity = answers.rates_in_resamples(
        np.array([threshold]), answers.resamples(resamples, seed)
    )
    return OperatingPoint(
        threshold=threshold,
        rule=rule if isinstance(rule, str) else FIXED_RULE,
        target_sensitivity=target_sensitivity if rule == SENSITIVITY_RULE else None,
        resamples=len(sensitivity),
        threshold_interval=_interval(chosen),
        sensitivity_interval=_interval(sensitivity),
        specificity_interval=_interval(specificity),
    )


def _interval(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, _INTERVAL)
    return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class ThresholdCurve:
    """What thresholds give on the validation split.

    Attributes:
      thresholds: float64 [t], rising.
      sensitivity: float64 [3, t]: the split's, and the ends of the resamples' 95 % interval.
      specificity: the same.
    """

    thresholds: np.ndarray
    sensitivity: np.ndarray
    specificity: np.ndarray


def threshold_curve(
    probability: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    resamples: int,
    seed: int,
    points: int = 201,
) -> ThresholdCurve:
    """Sensitivity and specificity over the threshold, with the band in which resamples have them.

    Args:
      probability: as for `choose_operating_point`, as are `labels`, `patients`, `resamples` and
        `seed`; the same seed draws the same resamples.
      labels: int [n].
      patients: str or bytes [n].
      resamples: how many.
      seed: of the resamples.
      points: how many thresholds from 0 to 1.

    Raises:
      BadDataError: a class is missing.
    """
    answers = _Answers.of(probability, labels, patients)
    thresholds = np.linspace(0.0, 1.0, points)
    of_split = answers.rates_in_resamples(thresholds, [np.ones([1, answers.patients], int)])
    of_resamples = answers.rates_in_resamples(thresholds, answers.resamples(resamples, seed))
    sensitivity, specificity = (
        np.vstack([whole, np.quantile(drawn, _INTERVAL, axis=0)])
        for whole, drawn in zip(of_split, of_resamples, strict=True)
    )
    return ThresholdCurve(thresholds, sensitivity, specificity)
