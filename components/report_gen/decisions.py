"""Confusion matrices, and the probabilities that the decisions come from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.report_gen.picture import BLUE, GREY, VERMILION, Picture, draw, draw_nothing
from components.run_facts.facts import RunFacts
from components.run_facts.wording import count, number
from components.slice_evaluator.answers import Answers
from components.slice_evaluator.figure_names import PATIENTS, SLICES
from components.slice_evaluator.figures import FN, FP, TN, TP

# By label and decision.
_CELLS = {(1, 1): TP, (1, 0): FN, (0, 1): FP, (0, 0): TN}


def draw_confusion(facts: RunFacts, unit: str) -> Picture:
    """The confusion matrix at the operating point.

    Args:
      facts: of the run.
      unit: `SLICES` or `PATIENTS`.
    """
    name, title = f"confusion-{unit}", f"Decisions on {unit}"
    counts = facts.evaluation.overall.of(unit).confusion
    of_class = {label: sum(counts[_CELLS[label, one]] for one in (0, 1)) for label in (0, 1)}
    if not sum(of_class.values()):
        return draw_nothing(name, title, "no prediction was made")

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        # Positive comes first, as in a textbook's two-by-two table.
        for row, label in enumerate((1, 0)):
            for column, decision in enumerate((1, 0)):
                amount = counts[_CELLS[label, decision]]
                share = amount / max(of_class[label], 1)
                axes.fill_between(
                    [column + 0.02, column + 0.98],
                    row + 0.02,
                    row + 0.98,
                    color=BLUE if label == decision else VERMILION,
                    alpha=0.08 + 0.42 * share,
                    linewidth=0,
                )
                middle: dict[str, Any] = {"ha": "center", "va": "center"}
                axes.text(column + 0.5, row + 0.45, f"{amount:,}", fontsize=19, **middle)
                which = "positives" if label else "negatives"
                axes.text(column + 0.5, row + 0.74, f"{share:.0%} of the {which}", **middle)
        axes.set(
            xlim=(0, 2),
            ylim=(2, 0),
            xlabel="decision of the model",
            ylabel="label",
            xticks=(0.5, 1.5),
            yticks=(0.5, 1.5),
        )
        axes.set_xticklabels(["positive", "negative"])
        axes.set_yticklabels(["positive", "negative"], rotation=90, va="center")

    alt = (
        f"Confusion matrix of the test split's {unit}: {count(counts[TP], 'true positive')}, "
        f"{count(counts[FN], 'false negative')}, {count(counts[FP], 'false positive')}, "
        f"{count(counts[TN], 'true negative')}."
    )
    return draw(name, title, alt, paint)


def draw_confusions(facts: RunFacts) -> list[Picture]:
    """Those of slices and of patients."""
    return [draw_confusion(facts, unit) for unit in (SLICES, PATIENTS)]


def draw_histogram(facts: RunFacts, answers: Answers) -> Picture:
    """How the probabilities of either class are spread around the threshold."""
    name, title = "histogram", "Probabilities by class"
    if not len(answers):
        return draw_nothing(name, title, "no prediction was made")
    if not np.isfinite(answers.probability).all():
        return draw_nothing(name, title, "some probabilities are not finite")
    positive = answers.probability[answers.label == 1]
    negative = answers.probability[answers.label == 0]
    threshold = facts.evaluation.threshold

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        edges = np.linspace(0.0, 1.0, 21).tolist()
        axes.hist(positive, edges, color=VERMILION, alpha=0.45, label="positive slices")
        # An outline and a filled shape can be told apart without any colour.
        axes.hist(
            negative, edges, histtype="step", color=BLUE, linewidth=1.8, label="negative slices"
        )
        axes.axvline(
            threshold,
            color=GREY,
            linestyle="--",
            linewidth=1.4,
            label=f"threshold {number(threshold)}",
        )
        axes.set(xlim=(-0.02, 1.02), xlabel="probability", ylabel="slices")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside upper center", ncols=3, columnspacing=1.2, handlelength=1.4)

    def median(values: np.ndarray) -> str:
        return number(float(np.median(values)) if values.size else math.nan)

    alt = (
        f"Histogram of the probabilities on the test split. Median {median(positive)} for positive "
        f"and {median(negative)} for negative slices; the threshold is {number(threshold)}."
    )
    return draw(name, title, alt, paint)
