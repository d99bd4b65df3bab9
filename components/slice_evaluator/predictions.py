"""What a model said of every evaluated slice, a JSON line each."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

PREFIX = "predictions"
BASELINE_PREFIX = "baseline_predictions"


@dataclasses.dataclass(frozen=True)
class SlicePrediction:
    """A model's answer for one slice.

    Attributes:
      id: the slice.
      patient_id: whose it is.
      label: 1 positive, 0 negative.
      probability: calibrated.
      decision: 1 or 0, at the model's operating point.
      threshold: the operating point.
      groups: the slice's, by `groups.GROUPINGS`; empty in evaluations of older releases.
    """

    id: str
    patient_id: str
    label: int
    probability: float
    decision: int
    threshold: float
    groups: dict[str, str] = dataclasses.field(default_factory=dict)


def read_predictions(evaluation: Path, prefix: str = PREFIX) -> Iterator[SlicePrediction]:
    """The predictions in an evaluation artifact's folder, one at a time.

    Args:
      evaluation: the folder.
      prefix: `PREFIX` for the candidate's; `BASELINE_PREFIX` for those of the model that it was
        compared with, of which there are none where there was no such model.
    """
    for file in sorted(evaluation.glob(f"{prefix}-*.jsonl")):
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
