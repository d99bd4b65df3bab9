"""Which test slices a report shows: the worst mistakes, and right calls that nobody picked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from components.slice_evaluator.answers import Answers
from components.slice_evaluator.predictions import SlicePrediction

MISSED, FALSE_ALARMS = "missed", "false_alarms"
FOUND, CLEARED = "found", "cleared"
KINDS = (MISSED, FALSE_ALARMS, FOUND, CLEARED)
"""False negatives, false positives, true positives and true negatives, in the order in which they
are shown."""

# Label, decision, and how many are shown.
_OF_KINDS = {
    MISSED: (1, 0, 4),
    FALSE_ALARMS: (0, 1, 4),
    FOUND: (1, 1, 2),
    CLEARED: (0, 0, 2),
}
_HELD = 1024


@dataclasses.dataclass(frozen=True)
class ChosenSlices:
    """Some test slices.

    Attributes:
      slices: by each of `KINDS`; empty where there is no such slice.
      amounts: how many there are of each in the whole test split.
    """

    slices: dict[str, list[SlicePrediction]]
    amounts: dict[str, int]

    def __iter__(self) -> Iterator[SlicePrediction]:
        return (one for kind in KINDS for one in self.slices[kind])


class _Foremost:
    """The few slices that come first in an order, of a stream of any length; one a patient."""

    def __init__(self, most: int, rank: Callable[[SlicePrediction], tuple[float, str]]):
        self._most, self._rank = most, rank
        self._held: list[SlicePrediction] = []

    def put(self, one: SlicePrediction) -> None:
        self._held.append(one)
        if len(self._held) >= _HELD:
            self._held = self.items()

    def items(self) -> list[SlicePrediction]:
        first: dict[str, SlicePrediction] = {}
        for one in sorted(self._held, key=self._rank):
            if one.patient_id not in first:
                first[one.patient_id] = one
                if len(first) == self._most:
                    break
        return list(first.values())


def _typical(answers: Answers, label: int) -> float:
    """The median probability of the right calls of a class; NaN where there is none."""
    right = answers.probability[(answers.label == label) & (answers.decision == label)]
    known = right[~np.isnan(right)]
    return float(np.median(known)) if known.size else math.nan


def choose_slices(predictions: Iterable[SlicePrediction], answers: Answers) -> ChosenSlices:
    """Choose slices, one pass over the predictions; no more than a few are held.

    Mistakes are those whose probability lies farthest on the wrong side. Right calls are those
    whose probability is nearest to the median of the right calls of their class. Of a patient, no
    list has more than one slice: four pictures of one scan show one mistake. The id decides
    between equals, so that the order of the predictions does not matter. A slice whose probability
    is no number is not shown.

    Args:
      predictions: in any order.
      answers: the same predictions, see `answered.collect`.
    """
    positive, negative = (_typical(answers, label) for label in (1, 0))
    foremost = {
        MISSED: _Foremost(_OF_KINDS[MISSED][2], lambda one: (one.probability, one.id)),
        FALSE_ALARMS: _Foremost(_OF_KINDS[FALSE_ALARMS][2], lambda one: (-one.probability, one.id)),
        FOUND: _Foremost(
            _OF_KINDS[FOUND][2], lambda one: (abs(one.probability - positive), one.id)
        ),
        CLEARED: _Foremost(
            _OF_KINDS[CLEARED][2], lambda one: (abs(one.probability - negative), one.id)
        ),
    }
    kind_of = {(label, decision): kind for kind, (label, decision, _) in _OF_KINDS.items()}
    for one in predictions:
        if not math.isnan(one.probability):
            foremost[kind_of[one.label, one.decision]].put(one)
    return ChosenSlices(
        slices={kind: foremost[kind].items() for kind in KINDS},
        amounts={
            kind: int(np.sum((answers.label == label) & (answers.decision == decision)))
            for kind, (label, decision, _) in _OF_KINDS.items()
        },
    )
