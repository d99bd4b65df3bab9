"""What an evaluation measured: figures with their intervals, of slices and of patients."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from components.slice_evaluator.figure_names import (
    EXAMPLE_COUNT,
    LOWER,
    PATIENTS,
    SLICES,
    UPPER,
    name_of,
)
from components.slice_evaluator.paired_comparison import PairedComparison


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure; NaN where it is undefined.

    Attributes:
      value: of all that was evaluated.
      lower: lower end of the 95 % interval.
      upper: its upper end.
    """

    value: float
    lower: float
    upper: float


@dataclasses.dataclass(frozen=True)
class UnitFigures:
    """The figures of slices, or of patients.

    Attributes:
      count: how many there are.
      confusion: the confusion matrix, by `figures.COUNTS`.
      figures: by `figures.FIGURES`.
    """

    count: int
    confusion: dict[str, int]
    figures: dict[str, Figure]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How a model differs from the baseline on the same rows.

    Attributes:
      slices: slice by slice.
      patients: patient by patient.
    """

    slices: PairedComparison
    patients: PairedComparison


@dataclasses.dataclass(frozen=True)
class Part:
    """The test split, or one of its groups.

    Attributes:
      small: whether there are too few patients to say much (see `groups.SMALL_GROUP`).
      slices: their figures.
      patients: likewise.
      patients_of_both_labels: how many have positive slices and negative ones; they count as
        positive.
      comparison: with the baseline; None where there is none.
    """

    small: bool
    slices: UnitFigures
    patients: UnitFigures
    patients_of_both_labels: int
    comparison: Comparison | None = None

    def of(self, unit: str) -> UnitFigures:
        """The figures of `SLICES` or of `PATIENTS`."""
        return self.patients if unit == PATIENTS else self.slices

    def metrics(self) -> dict[str, float]:
        """All figures and counts by name: first the values, then the intervals' ends."""
        return dict(
            [
                *self._values(),
                (EXAMPLE_COUNT, float(self.slices.count)),
                (PATIENTS, float(self.patients.count)),
                *self._ends(),
            ]
        )

    def _values(self) -> Iterator[tuple[str, float]]:
        for unit in (SLICES, PATIENTS):
            of_unit = self.of(unit)
            for name, figure in of_unit.figures.items():
                yield name_of(name, unit), figure.value
            for name, count in of_unit.confusion.items():
                yield name_of(name, unit), float(count)

    def _ends(self) -> Iterator[tuple[str, float]]:
        for unit in (SLICES, PATIENTS):
            for name, figure in self.of(unit).figures.items():
                yield name_of(name, unit) + LOWER, figure.lower
                yield name_of(name, unit) + UPPER, figure.upper
