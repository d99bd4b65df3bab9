"""What training leaves for the report: learning curves, calibration and the operating point."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import tensorflow as tf

FILE_NAME = "training.json"


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One point of the learning curves: the phase, the epoch from 1, and Keras's figures."""

    phase: str
    epoch: int
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class TrainingRecord:
    """The record.

    Attributes:
      epochs: the learning curves.
      training_slices: negative and positive slices of the training split.
      centre: what Transform subtracts.
      temperature: of the calibration.
      calibration_error: expected calibration error on validation, before and after.
      threshold: the operating point.
      validation: sensitivity, specificity and AUC on the validation split.
    """

    epochs: list[EpochRecord]
    training_slices: tuple[int, int]
    centre: float
    temperature: float
    calibration_error: tuple[float, float]
    threshold: float
    validation: dict[str, float]

    def write(self, folder: str) -> None:
        """Write the record into a folder."""
        tf.io.gfile.makedirs(folder)
        with tf.io.gfile.GFile(f"{folder}/{FILE_NAME}", "w") as file:
            file.write(json.dumps(dataclasses.asdict(self), indent=1))


def read_record(folder: Path) -> TrainingRecord:
    """Read the record that training left in a folder."""
    values = json.loads((folder / FILE_NAME).read_text())
    values["epochs"] = [EpochRecord(**epoch) for epoch in values["epochs"]]
    return TrainingRecord(**values)
