"""What the model said of the test split, a few bytes a slice, however many slices there are."""

from __future__ import annotations

import array
from collections.abc import Iterable

import numpy as np

from components.slice_evaluator.answers import Answers
from components.slice_evaluator.predictions import SlicePrediction


def collect(predictions: Iterable[SlicePrediction]) -> Answers:
    """The answers as columns: 14 bytes a slice, and each patient's id once while reading.

    Args:
      predictions: in any order, as Beam leaves them; the answers do not depend on it.

    Raises:
      ValueError: they are not of one operating point, or break a rule of `Answers`.
    """
    label, decision = array.array("b"), array.array("b")
    probability, patient = array.array("d"), array.array("i")
    codes: dict[str, int] = {}
    thresholds: set[float] = set()
    for one in predictions:
        label.append(one.label)
        decision.append(one.decision)
        probability.append(one.probability)
        patient.append(codes.setdefault(one.patient_id, len(codes)))
        thresholds.add(one.threshold)
    if len(thresholds) > 1:
        raise ValueError(f"a model has one operating point, not {len(thresholds)}")
    # By the patient's id, for codes are in the order of reading.
    rank = np.empty(len(codes), np.int32)
    rank[[codes[one] for one in sorted(codes)]] = np.arange(len(codes))
    columns = {
        "patient": rank[np.asarray(patient)] if codes else np.empty(0, np.int32),
        "label": np.asarray(label, np.int8),
        "probability": np.asarray(probability, np.float64),
        "decision": np.asarray(decision, np.int8),
    }
    order = np.lexsort(tuple(reversed(columns.values())))
    return Answers(
        **{name: column[order] for name, column in columns.items()},
        threshold=thresholds.pop() if thresholds else np.nan,
    )
