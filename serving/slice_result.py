"""What the model says of a slice, and what became of every slice that was asked about."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from serving.patient import Patient


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the model says about one slice.

    Attributes:
      probability: calibrated probability of COVID-19, 0 to 1.
      decision: 1 where the probability reaches the operating point, else 0.
      threshold: the operating point.
    """

    probability: float
    decision: int
    threshold: float


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """A prediction with the places in the slice that speak for COVID-19.

    Attributes:
      prediction: of the slice.
      heatmap: float32 [s, s] in [0, 1], over the whole slice squeezed to a square (see
        `transform.prediction.HEATMAP`).
    """

    prediction: Prediction
    heatmap: np.ndarray


@dataclasses.dataclass(frozen=True)
class SliceResult:
    """What became of one slice: a prediction, or one line that says why there is none.

    Attributes:
      path: the file that holds it; the folder, where that could not be used as a whole.
      source: the file, or the folder that was read as one series or volume.
      prediction: what the model says; None where there is an error.
      error: one line that names the path.
      number: which slice of its file, from 1; None for a file of one slice.
      patient: whose it is; None where the slice could not be read.
      series: tells slices of one series or volume from those of another; empty where unknown.
    """

    path: Path
    source: Path
    prediction: Prediction | None
    error: str | None = None
    number: int | None = None
    patient: Patient | None = None
    series: str = ""

    @property
    def name(self) -> str:
        """The path, and for a slice of many in one file its number, as in `scan.nii.gz#17`."""
        return str(self.path) if self.number is None else f"{self.path}#{self.number}"


@dataclasses.dataclass(frozen=True, eq=False)
class ExplainedSlice:
    """What became of one slice that was to be explained.

    Attributes:
      result: its prediction or error.
      heatmap: as in `Explanation`; None where there is an error.
      grey: uint8 [height, width], the slice as it is shown (HU in a lung window, pictures as they
        are); None where there is an error.
    """

    result: SliceResult
    heatmap: np.ndarray | None = None
    grey: np.ndarray | None = None
