"""What a model answered: the columns that every figure of an evaluation is made of."""

from __future__ import annotations

import array
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


class AnswerColumns:
    """The columns of `Answers` while predictions are read: 14 bytes a slice, and patients' ids."""

    def __init__(self) -> None:
        """Begin without any."""
        self._label, self._decision = array.array("b"), array.array("b")
        self._probability, self._patient = array.array("d"), array.array("i")
        self._codes: dict[str, int] = {}
        self._thresholds: set[float] = set()

    def add(self, one: SlicePrediction) -> None:
        """Take one more."""
        self._label.append(one.label)
        self._decision.append(one.decision)
        self._probability.append(one.probability)
        self._patient.append(self._codes.setdefault(one.patient_id, len(self._codes)))
        self._thresholds.add(one.threshold)

    @property
    def threshold(self) -> float:
        """The operating point; NaN where nothing was read.

        Raises:
          ValueError: there are several.
        """
        if len(self._thresholds) > 1:
            raise ValueError(f"a model has one operating point, not {len(self._thresholds)}")
        return next(iter(self._thresholds), np.nan)

    def columns(self) -> dict[str, np.ndarray]:
        """The columns [n] by name, in the order of reading; patients' codes by their sorted ids."""
        rank = np.empty(len(self._codes), np.int32)
        rank[[self._codes[one] for one in sorted(self._codes)]] = np.arange(len(self._codes))
        return {
            "label": np.asarray(self._label, np.int8),
            "probability": np.asarray(self._probability, np.float64),
            "decision": np.asarray(self._decision, np.int8),
            "patient": rank[np.asarray(self._patient, np.int32)],
        }


@dataclasses.dataclass(frozen=True, eq=False)
class IdentifiedAnswers:
    """A model's answers and which slice each of them is of, sorted by the slices' ids.

    Attributes:
      ids: str as objects [n], ascending.
      answers: n of them; patients' codes are in the order of the sorted patient ids.
    """

    ids: np.ndarray
    answers: Answers

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def repeated(self) -> int:
        """How many rows are of a slice that has one already."""
        return int(np.sum(self.ids[1:] == self.ids[:-1]))

    @classmethod
    def of(cls, predictions: Iterable[SlicePrediction]) -> IdentifiedAnswers:
        """Read predictions, one at a time: what is kept of each is its id and 14 bytes.

        Args:
          predictions: in any order, as Beam leaves them.

        Raises:
          ValueError: they are not of one operating point, or break a rule of `Answers`.
          TypeError: one has no number where there must be one, or no text for an id.
        """
        ids: list[str] = []
        collected = AnswerColumns()
        for one in predictions:
            ids.append(one.id)
            collected.add(one)
        names, columns = np.array(ids, object), collected.columns()
        # Of rows of one slice, too, the order must not be that of reading.
        order = np.lexsort((columns["label"], columns["patient"]))
        order = order[np.argsort(names[order], kind="stable")]
        return cls(
            names[order],
            Answers(
                **{name: column[order] for name, column in columns.items()},
                threshold=collected.threshold,
            ),
        )


def paired_answers(a: IdentifiedAnswers, b: IdentifiedAnswers) -> tuple[Answers, Answers]:
    """The answers of two models to the same slices, row by row of the same slice.

    Ids of patients may differ, for they are hashes under a key that each run's folder has of its
    own. What counts is which slices are of one patient.

    Args:
      a: what one model said, of no slice twice.
      b: what the other said, likewise.

    Returns:
      The answers of both, with the patients' codes of the first.

    Raises:
      BadDataError: they were asked about different slices, or a slice has another label, or they
        do not agree on which slices are of one patient.
    """
    _check_same_slices(a, b)
    pairs = np.unique(np.stack([a.answers.patient, b.answers.patient]), axis=1).shape[1]
    patients = a.answers.patients, b.answers.patients
    if patients != (pairs, pairs):
        raise BadDataError(
            f"A and B do not agree on whose the test slices are ({patients[0]} and {patients[1]} "
            f"patients, {pairs} pairs of them); evaluate both on one manifest"
        )
    return a.answers, dataclasses.replace(b.answers, patient=a.answers.patient)


def _check_same_slices(a: IdentifiedAnswers, b: IdentifiedAnswers) -> None:
    if np.array_equal(a.ids, b.ids):
        common = len(a)
        relabelled = int(np.sum(a.answers.label != b.answers.label))
    else:
        shared, of_a, of_b = np.intersect1d(a.ids, b.ids, assume_unique=True, return_indices=True)
        common = len(shared)
        relabelled = int(np.sum(a.answers.label[of_a] != b.answers.label[of_b]))
    alone = len(a) - common, len(b) - common
    if relabelled or any(alone):
        labels = f", and {relabelled} have another label" if relabelled else ""
        raise BadDataError(
            f"A and B were not asked about the same test slices: {common - relabelled} are "
            f"shared, {alone[0]} are of A alone, {alone[1]} of B alone{labels}; a test slice of "
            "one may have trained the other, so evaluate both on one test split"
        )


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
