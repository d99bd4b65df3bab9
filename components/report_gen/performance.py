"""The figures on the test split as rows: all of them, and the comparison."""

from __future__ import annotations

import dataclasses
import math

from components.run_facts.facts import RunFacts
from components.run_facts.numbers import has_spread
from components.run_facts.wording import (
    FIGURE_NAMES,
    interval,
    number,
)
from components.slice_evaluator.figure_names import PATIENTS, SLICES
from components.slice_evaluator.figures import (
    AUC,
    BRIER,
    CALIBRATION_ERROR,
    FIGURES,
    SENSITIVITY,
    SPECIFICITY,
)
from components.slice_evaluator.gate import BoundResult
from components.slice_evaluator.measured import Figure, UnitFigures
from components.slice_evaluator.paired_comparison import Difference, PairedComparison

DECIDING = (SENSITIVITY, SPECIFICITY, AUC)
"""What a reader looks at first."""

_SMALLER_IS_BETTER = (BRIER, CALIBRATION_ERROR)


def short_interval(lower: float, upper: float) -> str:
    """The ends of an interval, or words that take no more room than they do."""
    if math.isnan(lower + upper) or has_spread(lower, upper):
        return interval(lower, upper)
    return "no spread"


def interval_of(found: Figure | Difference) -> str:
    """The ends of a figure's interval, or a few words where they say nothing."""
    return short_interval(found.lower, found.upper)


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"+{number(value)}" if value > 0 else number(value)


def _percent(value: float) -> float:
    return 0.0 if math.isnan(value) else 100.0 * min(max(value, 0.0), 1.0)


@dataclasses.dataclass(frozen=True)
class Tile:
    """One of the figures that are looked at first.

    Attributes:
      name: for people.
      slices: of slices.
      patients: of patients.
      bound: on the value of slices, where the gate has one.
    """

    name: str
    slices: Figure
    patients: Figure
    bound: BoundResult | None

    @property
    def meter(self) -> dict[str, str]:
        """Where interval and value stand on a bar, in percent."""
        low, high = _percent(self.slices.lower), _percent(self.slices.upper)
        return {
            "left": f"{low:.1f}",
            "width": f"{high - low:.1f}",
            "value": f"{_percent(self.slices.value):.1f}",
        }


def tiles(facts: RunFacts) -> list[Tile]:
    """The figures that decide."""
    bounds = {bound.metric: bound for bound in facts.gate.bounds}
    overall = facts.evaluation.overall
    return [
        Tile(
            FIGURE_NAMES[name],
            overall.slices.figures[name],
            overall.patients.figures[name],
            bounds.get(name),
        )
        for name in DECIDING
    ]


@dataclasses.dataclass(frozen=True)
class FigureRow:
    """One figure.

    Attributes:
      name: for people.
      note: how it is to be read, where less is better; else empty.
      slices: of slices.
      patients: of patients.
    """

    name: str
    note: str
    slices: Figure
    patients: Figure


def figure_rows(facts: RunFacts) -> list[FigureRow]:
    """Every figure of the evaluation, in its order."""

    def of(unit: UnitFigures, name: str) -> Figure:
        # An evaluation of another release may lack one.
        return unit.figures.get(name, Figure(math.nan, math.nan, math.nan))

    overall = facts.evaluation.overall
    return [
        FigureRow(
            FIGURE_NAMES[name],
            "0 is best" if name in _SMALLER_IS_BETTER else "",
            of(overall.slices, name),
            of(overall.patients, name),
        )
        for name in FIGURES
    ]


@dataclasses.dataclass(frozen=True)
class DifferenceRow:
    """One figure of both models."""

    name: str
    found: Difference


@dataclasses.dataclass(frozen=True)
class ComparisonPart:
    """The comparison with the last blessed model, of patients or of slices.

    Attributes:
      unit: `PATIENTS` or `SLICES`.
      paired: all of it.
      rows: its differences.
    """

    unit: str
    paired: PairedComparison
    rows: list[DifferenceRow]


def comparison_parts(facts: RunFacts) -> list[ComparisonPart]:
    """The comparison, of patients first; empty where there was nothing to compare with."""
    comparison = facts.evaluation.overall.comparison
    if comparison is None:
        return []
    return [
        ComparisonPart(
            unit,
            paired,
            [DifferenceRow(FIGURE_NAMES[name], getattr(paired, name)) for name in DECIDING],
        )
        for unit, paired in ((PATIENTS, comparison.patients), (SLICES, comparison.slices))
    ]
