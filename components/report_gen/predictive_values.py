"""Predictive values over prevalences: what a call of the model is worth where disease is rare.

The test split's own predictive values are those of its mixture of classes. At another prevalence
they follow from sensitivity and specificity by Bayes' theorem, provided that these two stay what
they were. Both predictive values rise with sensitivity and with specificity: their ranges go from
both lower ends of the 95 % intervals to both upper ends.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from matplotlib.figure import Figure

from components.report_gen.picture import BLUE, VERMILION, Picture, draw, draw_nothing
from components.run_facts.facts import RunFacts
from components.run_facts.wording import number
from components.slice_evaluator.figure_names import PATIENTS, SLICES
from components.slice_evaluator.figures import SENSITIVITY, SPECIFICITY
from components.slice_evaluator.measured import Figure as Measured
from components.slice_evaluator.measured import UnitFigures

PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of positives that are written out."""

_LOWEST, _HIGHEST, _POINTS = 0.005, 0.6, 120


def _ratio(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest else math.nan


def ppv_at(prevalence: float, sensitivity: float, specificity: float) -> float:
    """Share of positive calls that are right; NaN where there is none."""
    return _ratio(sensitivity * prevalence, (1.0 - specificity) * (1.0 - prevalence))


def npv_at(prevalence: float, sensitivity: float, specificity: float) -> float:
    """Share of negative calls that are right; NaN where there is none."""
    return _ratio(specificity * (1.0 - prevalence), (1.0 - sensitivity) * prevalence)


@dataclasses.dataclass(frozen=True)
class PredictiveValues:
    """Both predictive values at one prevalence.

    Attributes:
      prevalence: share of positives.
      ppv: with its range.
      npv: with its range.
    """

    prevalence: float
    ppv: Measured
    npv: Measured


def predictive_values(found: UnitFigures, prevalence: float) -> PredictiveValues:
    """The predictive values that sensitivity and specificity come to.

    Args:
      found: of slices or of patients.
      prevalence: share of positives, between 0 and 1.
    """
    sensitivity, specificity = found.figures[SENSITIVITY], found.figures[SPECIFICITY]
    ends = [
        (getattr(sensitivity, end), getattr(specificity, end))
        for end in ("value", "lower", "upper")
    ]
    return PredictiveValues(
        prevalence,
        Measured(*(ppv_at(prevalence, *end) for end in ends)),
        Measured(*(npv_at(prevalence, *end) for end in ends)),
    )


def table(facts: RunFacts) -> list[tuple[float, dict[str, PredictiveValues]]]:
    """The values at `PREVALENCES`, of `PATIENTS` and `SLICES`."""
    overall = facts.evaluation.overall
    return [
        (one, {unit: predictive_values(overall.of(unit), one) for unit in (PATIENTS, SLICES)})
        for one in PREVALENCES
    ]


def draw_predictive_values(facts: RunFacts) -> Picture:
    """Both predictive values of patients over the prevalence."""
    name, title = "predictive-values", "Predictive values of patients"
    patients = facts.evaluation.overall.patients
    rates = [patients.figures[one].value for one in (SENSITIVITY, SPECIFICITY)]
    if any(math.isnan(one) for one in rates):
        return draw_nothing(name, title, "sensitivity or specificity is undefined")
    prevalences = np.geomspace(_LOWEST, _HIGHEST, _POINTS)
    along = [predictive_values(patients, one) for one in prevalences.tolist()]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for key, colour, line, label in (
            ("ppv", BLUE, "-", "positive predictive value"),
            ("npv", VERMILION, "--", "negative predictive value"),
        ):
            measured = [getattr(one, key) for one in along]
            axes.fill_between(
                prevalences,
                [one.lower for one in measured],
                [one.upper for one in measured],
                color=colour,
                alpha=0.18,
                linewidth=0,
            )
            axes.plot(prevalences, [one.value for one in measured], line, color=colour, label=label)
        axes.set_xscale("log")
        axes.set(
            xlim=(_LOWEST, _HIGHEST),
            ylim=(-0.02, 1.02),
            xlabel="share of patients who have the disease",
            ylabel="share of calls that are right",
        )
        axes.set_xticks(PREVALENCES, [f"{one:.0%}" for one in PREVALENCES])
        axes.set_xticks([], minor=True)
        figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)

    said = [
        f"at {one:.0%} positive predictive value {number(values.ppv.value)}, negative "
        f"{number(values.npv.value)}"
        for one in PREVALENCES
        for values in [predictive_values(patients, one)]
    ]
    alt = f"Predictive values of patients over the prevalence: {'; '.join(said)}."
    return draw(name, title, alt, paint)
