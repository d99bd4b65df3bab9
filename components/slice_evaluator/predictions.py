"""What the model said of every evaluated slice, a JSON line each."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

PREFIX = "predictions"


@dataclasses.dataclass(frozen=True)
class SlicePrediction:
    """The candidate's answer for one slice.

    Attributes:
      id: the slice.
      patient_id: whose it is.
      label: 1 positive, 0 negative.
      probability: calibrated.
      decision: 1 or 0, at the model's operating point.
      threshold: the operating point.
    """

    id: str
    patient_id: str
    label: int
    probability: float
    decision: int
    threshold: float


def read_predictions(evaluation: Path) -> Iterator[SlicePrediction]:
    """The predictions in an evaluation artifact's folder, one at a time."""
    for file in sorted(evaluation.glob(f"{PREFIX}-*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                yield SlicePrediction(**json.loads(line))


_destination: contextvars.ContextVar[str] = contextvars.ContextVar("predictions_destination")


@contextlib.contextmanager
def written_to(folder: str) -> Iterator[None]:
    """Have the extractors that are built within this context write below a folder.

    TFX builds the extractors itself and tells them nothing of where its artifacts are.
    """
    token = _destination.set(folder)
    try:
        yield
    finally:
        _destination.reset(token)


def destination() -> str:
    """The folder of the context that this is called in."""
    return _destination.get()
