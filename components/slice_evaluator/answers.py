"""What a model answered: the columns that every figure of an evaluation is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from components.slice_evaluator.predictions import SlicePrediction
from transform.errors import BadDataError


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers for slices, or for patients (see `by_patient`), a column each.

    Columns of another type are converted.

    Attributes:
      label: int8 [n], 1 positive, 0 negative.
      probability: float64 [n] in [0, 1], calibrated; NaN where the model gave no number.
      decision: int8 [n], 1 or 0, at the operating point.
      patient: int32 [n], whose the slice is: codes from 0 to m - 1, each of which occurs.
      threshold: the operating point; NaN where there is no slice to tell it.

    Raises:
      ValueError: a column breaks one of these rules.
    """

    label: np.ndarray
    probability: np.ndarray
    decision: np.ndarray
    patient: np.ndarray
    threshold: float

    def __post_init__(self) -> None:
        columns = {
            field.name: np.asarray(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name != "threshold"
        }
        shapes = {name: column.shape for name, column in columns.items()}
        if len(set(shapes.values())) > 1 or columns["label"].ndim != 1:
            raise ValueError(f"columns must be of one length, not of the shapes {shapes}")
        for name in ("label", "decision"):
            if not np.isin(columns[name], (0, 1)).all():
                raise ValueError(f"{name} must be 0 or 1, not {np.unique(columns[name])}")
        probability = columns["probability"].astype(np.float64)
        if not (np.isnan(probability) | ((probability >= 0.0) & (probability <= 1.0))).all():
            raise ValueError("probability must be in [0, 1]")
        patient = columns["patient"]
        if patient.size and not np.array_equal(np.unique(patient), np.arange(patient.max() + 1)):
            raise ValueError("patient must be codes from 0 on, without a gap")
        if patient.size and not np.isfinite(self.threshold):
            raise ValueError(f"threshold must be a number, not {self.threshold}")
        columns["probability"] = probability
        for name, column in columns.items():
            kind = {"probability": np.float64, "patient": np.int32}.get(name, np.int8)
            object.__setattr__(self, name, column.astype(kind))

    def __len__(self) -> int:
        return len(self.label)

    @property
    def patients(self) -> int:
        """How many patients there are (m)."""
        return int(self.patient.max()) + 1 if len(self) else 0

    @classmethod
    def of(
        cls,
        *,
        label: Sequence[int] | np.ndarray,
        probability: Sequence[float] | np.ndarray,
        decision: Sequence[int] | np.ndarray,
        patient_id: Sequence[str] | np.ndarray,
        threshold: float,
    ) -> Answers:
        """The same, with patients by their ids; codes are in the order of the sorted ids.

        Args:
          label: [n], 0 or 1, as are all columns of `Answers`.
          probability: [n].
          decision: [n].
          patient_id: str or bytes [n].
          threshold: the operating point.

        Raises:
          ValueError: as for `Answers`.
        """
        codes = np.unique(np.asarray(patient_id), return_inverse=True)[1]
        return cls(
            label=np.asarray(label),
            probability=np.asarray(probability),
            decision=np.asarray(decision),
            patient=codes,
            threshold=float(threshold),
        )

    @classmethod
    def of_predictions(cls, predictions: Iterable[SlicePrediction]) -> Answers:
        """The answers of predictions in any order, sorted by the slices' ids.

        Raises:
          ValueError: the predictions are not of one operating point, or as for `Answers`.
        """
        return cls._of_sorted(_sorted(predictions))

    @classmethod
    def _of_sorted(cls, rows: list[SlicePrediction]) -> Answers:
        thresholds = {row.threshold for row in rows}
        if len(thresholds) > 1:
            raise ValueError(
                f"predictions are of {len(thresholds)} operating points, and must be of one model"
            )
        return cls.of(
            label=[row.label for row in rows],
            probability=[row.probability for row in rows],
            decision=[row.decision for row in rows],
            patient_id=[row.patient_id for row in rows],
            threshold=thresholds.pop() if thresholds else np.nan,
        )

    def where(self, which: np.ndarray) -> Answers:
        """A part of the answers, with the patients that are in it.

        Args:
          which: bool [n], what to keep.
        """
        return Answers(
            label=self.label[which],
            probability=self.probability[which],
            decision=self.decision[which],
            patient=np.unique(self.patient[which], return_inverse=True)[1],
            threshold=self.threshold,
        )


def _sorted(predictions: Iterable[SlicePrediction]) -> list[SlicePrediction]:
    return sorted(predictions, key=lambda one: (one.id, one.patient_id, one.label))


def paired_answers(
    baseline: Iterable[SlicePrediction], candidate: Iterable[SlicePrediction]
) -> tuple[Answers, Answers]:
    """The answers of two models to the same slices, row by row of the same slice.

    Args:
      baseline: what one model said, in any order.
      candidate: what the other said, in any other.

    Raises:
      BadDataError: they were asked about different slices, or a slice changed its label or its
        patient in between.
      ValueError: the predictions of one of them are not of one operating point.
    """
    of_baseline, of_candidate = _sorted(baseline), _sorted(candidate)
    slices = [
        {(row.id, row.patient_id, row.label) for row in rows}
        for rows in (of_baseline, of_candidate)
    ]
    apart = len(slices[0] ^ slices[1])
    if apart or len(of_baseline) != len(of_candidate):
        raise BadDataError(
            f"two models cannot be compared: one was asked about {len(of_baseline)} test slices "
            f"and the other about {len(of_candidate)}, of which {apart} differ in id, patient or "
            "label; evaluate both on one test split"
        )
    return Answers._of_sorted(of_baseline), Answers._of_sorted(of_candidate)


def by_patient(answers: Answers) -> Answers:
    """One row a patient, in the order of the codes.

    A patient's probability is the mean of the slices', the decision is 1 where that mean reaches
    the slices' threshold, and the label is 1 where any slice is positive: a patient with one
    diseased slice has the disease, and `patients_of_both_labels` says how often that had to be
    settled. `ctnet predict` makes the same of a patient's slices (`serving.patient_result`), which
    this package must not know; a test holds the two together.
    """
    slices = np.bincount(answers.patient, minlength=answers.patients)
    # A sum in one order, so that the order of rows changes not even its last bit.
    order = np.lexsort((answers.probability, answers.patient))
    total = np.bincount(
        answers.patient[order], weights=answers.probability[order], minlength=answers.patients
    )
    mean = total / slices
    return Answers(
        label=_any(answers, answers.label == 1),
        probability=mean,
        decision=mean >= answers.threshold,
        patient=np.arange(answers.patients),
        threshold=answers.threshold,
    )


def patients_of_both_labels(answers: Answers) -> int:
    """How many patients have positive slices and negative ones."""
    return int(np.sum(_any(answers, answers.label == 1) & _any(answers, answers.label == 0)))


def _any(answers: Answers, which: np.ndarray) -> np.ndarray:
    """Patients with a slice among those marked, bool [m]."""
    return np.bincount(answers.patient[which], minlength=answers.patients) > 0
