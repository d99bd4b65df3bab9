"""A patient's result: the mean of the probabilities of the slices, at the slices' threshold."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from serving.patient import Patient, patient_of
from serving.slice_result import SliceResult


@dataclasses.dataclass(frozen=True)
class PatientResult:
    """What the slices of one patient say together.

    Attributes:
      path: the file, or the folder that was read as one series or volume, of the first of them.
      patient: whose they are.
      probability: mean of the slices' probabilities; None where no slice was predicted.
      decision: 1 where that mean reaches the threshold, else 0; None likewise.
      threshold: the operating point of the slices; None likewise.
      slices: how many were predicted.
      failed: how many could not be, and are not in the mean.
      series: how many series, volumes or files the slices came from.
      pictures: how many of the predicted slices were pictures, which name no patient.
    """

    path: Path
    patient: Patient
    probability: float | None
    decision: int | None
    threshold: float | None
    slices: int
    failed: int
    series: int
    pictures: int


@dataclasses.dataclass
class _Sum:
    path: Path
    probability: float = 0.0
    threshold: float = 0.0
    slices: int = 0
    failed: int = 0
    pictures: int = 0
    series: set[str] = dataclasses.field(default_factory=set)


class PatientMeans:
    """Takes the results of slices one at a time; what it keeps grows with the patients only.

    A slice that could not be read tells no patient. It counts as failed for the patient of the
    other slices of its folder or volume, where these are of one patient; else for the folder or
    volume itself.
    """

    def __init__(self) -> None:
        self._sums: dict[Patient, _Sum] = {}
        self._patients_of: dict[Path, set[Patient]] = {}
        self._unread: Counter[Path] = Counter()

    def add(self, result: SliceResult) -> None:
        """Count a slice in."""
        if result.patient is None:
            self._unread[result.source] += 1
            return
        self._patients_of.setdefault(result.source, set()).add(result.patient)
        total = self._sums.setdefault(result.patient, _Sum(result.source))
        total.series.add(result.series or str(result.source))
        if result.prediction is None:
            total.failed += 1
            return
        # Exact: probabilities are float32, of which a float64 adds millions without rounding.
        total.probability += result.prediction.probability
        # Where the server takes up another model in between, that of the last slice counts.
        total.threshold = result.prediction.threshold
        total.slices += 1
        total.pictures += not result.series

    def results(self) -> list[PatientResult]:
        """The patients so far, in the order of their first slices."""
        sums = {patient: dataclasses.replace(total) for patient, total in self._sums.items()}
        for source, count in self._unread.items():
            patients = self._patients_of.get(source, set())
            patient = next(iter(patients)) if len(patients) == 1 else patient_of(source)
            sums.setdefault(patient, _Sum(source)).failed += count
        return [_result(patient, total) for patient, total in sums.items()]


def _result(patient: Patient, total: _Sum) -> PatientResult:
    mean = total.probability / total.slices if total.slices else None
    return PatientResult(
        path=total.path,
        patient=patient,
        probability=mean,
        decision=None if mean is None else int(mean >= total.threshold),
        threshold=None if mean is None else total.threshold,
        slices=total.slices,
        failed=total.failed,
        series=max(len(total.series), 1),
        pictures=total.pictures,
    )


def patient_results(results: Iterable[SliceResult]) -> list[PatientResult]:
    """The result of every patient among slices, in the order of their first slices.

    Args:
      results: as `Client.predict_files` yields them; taken one at a time.
    """
    means = PatientMeans()
    for result in results:
        means.add(result)
    return means.results()
