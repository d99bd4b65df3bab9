"""What training leaves for the report: learning curves, calibration and the operating point."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from transform.whole_file import write_whole

FILE_NAME = "training.json"

LEARNING_CURVES, CALIBRATION, THRESHOLD = "learning_curves", "calibration", "threshold"
PICTURES = (LEARNING_CURVES, CALIBRATION, THRESHOLD)
"""Pictures beside the record, each as .png for people and as .svg for the report."""

SENSITIVITY_RULE, YOUDEN_RULE, FIXED_RULE = "sensitivity", "youden", "fixed"
"""How an operating point is chosen: reach a sensitivity; sensitivity and specificity add up to
most (Youden 1950); the threshold was given."""

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One point of the learning curves: the phase, the epoch from 1, and Keras's figures."""

    phase: str
    epoch: int
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """The threshold, and how sure the validation split is of it.

    Attributes:
      threshold: a slice is decided positive where probability >= threshold.
      rule: one of the three above.
      target_sensitivity: what `SENSITIVITY_RULE` must reach, None for the others.
      resamples: of the patients, with both classes, that the figures below come from.
      threshold_interval: 95 % of the resamples choose a threshold in it.
      sensitivity_interval: 95 % of the resamples have a sensitivity at `threshold` in it.
      specificity_interval: the same for the specificity.
    """

    threshold: float
    rule: str
    target_sensitivity: float | None
    resamples: int
    threshold_interval: Interval
    sensitivity_interval: Interval
    specificity_interval: Interval


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
      negative_log_likelihood: on validation, before and after calibration.
      operating_point: how the threshold was chosen.
      seed: of the weights, the order of the slices, their changes, and the resamples.
      replicas: devices that shared a step.
      global_batch_size: slices of a step, of all replicas together.
      learning_rate: peak of fine-tuning, multiplied by the replicas.
      resumed_from: finished epochs, of both phases, that a run before this one had left; None
        where training began at the beginning.
      warm_start: the blessed model whose weights training began with, None for another's.
      cautions: sentences that say where the model cannot be relied on, from the validation split.
      versions: of Python and the packages that decide what a model becomes, by name.
      weights_fingerprint: MD5 of the weights file that the backbone began with, "none" where they
        were random; None after a warm start.
      code_version: a hash of the code that trained.

    What a record of an older release does not have is None (`versions`, `cautions`: empty).
    """

    epochs: list[EpochRecord]
    training_slices: tuple[int, int]
    centre: float
    temperature: float
    calibration_error: tuple[float, float]
    threshold: float
    validation: dict[str, float]
    negative_log_likelihood: tuple[float, float] | None = None
    operating_point: OperatingPoint | None = None
    seed: int | None = None
    replicas: int | None = None
    global_batch_size: int | None = None
    learning_rate: float | None = None
    resumed_from: int | None = None
    warm_start: str | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    cautions: list[str] = dataclasses.field(default_factory=list)
    weights_fingerprint: str | None = None
    code_version: str | None = None

    def write(self, folder: str) -> None:
        """Write the record into a folder, whole or not at all.

        Raises:
          StorageError: the folder cannot be written.
        """
        text = json.dumps(dataclasses.asdict(self), indent=1)
        write_whole(f"{folder}/{FILE_NAME}", text.encode())


def _as_written(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists only; every other list of this record was a tuple."""
    return {name: tuple(one) if isinstance(one, list) else one for name, one in values.items()}


def read_record(folder: Path) -> TrainingRecord:
    """Read the record that training left in a folder; one of an older or newer release, too."""
    known = {field.name for field in dataclasses.fields(TrainingRecord)}
    written = json.loads((folder / FILE_NAME).read_text())
    values = {name: value for name, value in written.items() if name in known}
    epochs = [EpochRecord(**epoch) for epoch in values.pop("epochs")]
    cautions = values.pop("cautions", [])
    point = values.pop("operating_point", None)
    return TrainingRecord(
        epochs=epochs,
        cautions=cautions,
        operating_point=None if point is None else OperatingPoint(**_as_written(point)),
        **_as_written(values),
    )
