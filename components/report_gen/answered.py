"""What the model said of the test split, a few bytes a slice, however many slices there are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.slice_evaluator.answers import AnswerColumns, Answers
from components.slice_evaluator.predictions import SlicePrediction


def collect(predictions: Iterable[SlicePrediction]) -> Answers:
    """The answers as columns: 14 bytes a slice, and each patient's id once while reading.

    Args:
      predictions: in any order, as Beam leaves them; the answers do not depend on it.

    Raises:
      ValueError: they are not of one operating point, or break a rule of `Answers`.
    """
    collected = AnswerColumns()
    for one in predictions:
        collected.add(one)
    columns = collected.columns()
    order = np.lexsort([columns[name] for name in ("decision", "probability", "label", "patient")])
    return Answers(
        **{name: column[order] for name, column in columns.items()},
        threshold=collected.threshold,
    )
