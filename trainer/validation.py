"""What the trained network says of the validation split, and what follows from it."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
import tf_keras
from sklearn.metrics import roc_auc_score

from trainer import pictures
from trainer.calibration import (
    at_its_bound,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
)
from trainer.input import SplitFiles, validation_batches
from trainer.operating_point import choose_operating_point, threshold_curve
from transform.errors import BadDataError
from transform.training_record import OperatingPoint


def _logits(model: tf_keras.Model, batches: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 [n] and labels int [n] of a split, in one pass."""
    logits, labels = [], []
    for image, label in batches:
        logits.append(model.predict_on_batch(image)[:, 0])
        labels.append(label.numpy()[:, 0].astype(int))
    return np.concatenate(logits), np.concatenate(labels)


@dataclasses.dataclass(frozen=True)
class Rule:
    """How the operating point is chosen; `trainer.operating_point` says what each number means."""

    rule: str | float
    target_sensitivity: float
    resamples: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Validation:
    """The answers to the validation split, calibrated, with the operating point chosen on them.

    Attributes:
      logits: float32 [n].
      labels: int [n], 0 or 1.
      patients: str [n].
      rule: of the operating point.
      temperature: of the calibration.
      point: the operating point.
    """

    logits: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    rule: Rule
    temperature: float
    point: OperatingPoint

    @classmethod
    def of(
        cls, model: tf_keras.Model, files: SplitFiles, batch_size: int, rule: Rule
    ) -> Validation:
        """Ask the network in one pass, calibrate, and choose the operating point.

        Args:
          model: whose logits the exported model's answers are made of.
          files: the validation split.
          batch_size: slices that are asked about at once.
          rule: of the operating point.

        Raises:
          BadDataError: training diverged, or a class is missing.
        """
        logits, labels = _logits(model, validation_batches(files, batch_size))
        if not np.isfinite(logits).all():
            raise BadDataError(
                "training diverged (the network's answers are not finite); lower "
                "train.learning_rate"
            )
        return cls.answered(logits, labels, files.patients(), rule, fit_temperature(logits, labels))

    @classmethod
    def answered(
        cls,
        logits: np.ndarray,
        labels: np.ndarray,
        patients: np.ndarray,
        rule: Rule,
        temperature: float,
    ) -> Validation:
        """Choose the operating point on answers that are there already.

        Args:
          logits: float [n].
          labels: int [n], 0 or 1.
          patients: str or bytes [n].
          rule: of the operating point.
          temperature: of the calibration.

        Raises:
          BadDataError: a class is missing.
        """
        point = choose_operating_point(
            probabilities(logits, temperature), labels, patients, **dataclasses.asdict(rule)
        )
        return cls(logits, labels, patients, rule, temperature, point)

    @property
    def probability(self) -> np.ndarray:
        """Calibrated, float64 [n]."""
        return probabilities(self.logits, self.temperature)

    def figures(self) -> dict[str, float]:
        """Sensitivity and specificity at the threshold, and AUC."""
        decided = self.probability >= self.point.threshold
        return {
            "sensitivity": float(decided[self.labels == 1].mean()),
            "specificity": float((~decided)[self.labels == 0].mean()),
            "auc": float(roc_auc_score(self.labels, self.probability)),
        }

    def cautions(self) -> list[str]:
        """Sentences that say where these answers cannot be relied on; mostly none."""
        cautions = []
        positive = int(np.sum(self.labels))
        negative = len(self.labels) - positive
        auc = self.figures()["auc"]
        # Under the null hypothesis (Mann and Whitney 1947), with slices as independent witnesses.
        chance = 0.5 + 1.96 * np.sqrt((len(self.labels) + 1) / (12.0 * positive * negative))
        if auc < chance:
            cautions.append(
                f"the validation AUC of {auc:.3f} is within what chance alone gives "
                f"{len(self.labels)} slices (up to {min(chance, 1.0):.3f}): train longer, with "
                "other rates, or on more slices"
            )
        if at_its_bound(self.temperature):
            cautions.append(
                f"the temperature of the calibration ended at its bound ({self.temperature:.3g}): "
                "the answers to the validation slices do not fit their labels, and the "
                "probabilities mean little"
            )
        return cautions

    def calibration_error(self) -> tuple[float, float]:
        """Expected calibration error before and after calibration."""
        before, after = (
            expected_calibration_error(probabilities(self.logits, one), self.labels)
            for one in (1.0, self.temperature)
        )
        return before, after

    def negative_log_likelihood(self) -> tuple[float, float]:
        """Of the labels, before and after calibration."""
        before, after = (
            negative_log_likelihood(self.logits, self.labels, one)
            for one in (1.0, self.temperature)
        )
        return before, after

    def draw(self, folder: str) -> None:
        """Write pictures of the calibration and of the choice of the threshold."""
        curve = threshold_curve(
            self.probability,
            self.labels,
            self.patients,
            resamples=self.rule.resamples,
            seed=self.rule.seed,
        )
        pictures.draw_calibration(self.logits, self.labels, self.temperature).write(folder)
        pictures.draw_threshold(curve, self.point).write(folder)
