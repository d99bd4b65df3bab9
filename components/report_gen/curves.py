"""ROC and precision-recall curves of slices and patients, with the operating point."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from components.report_gen.picture import (
    BLUE,
    GREY,
    VERMILION,
    Picture,
    draw,
    draw_nothing,
    thin,
    unit_square,
)
from components.run_facts.facts import RunFacts
from components.run_facts.wording import number
from components.slice_evaluator.answers import Answers, by_patient
from components.slice_evaluator.figures import AUC, AVERAGE_PRECISION
from components.slice_evaluator.measured import UnitFigures

# Kwee, Adams and Kwee 2021, a meta-analysis of nine studies of 3,283 patients: pooled sensitivity
# and specificity of CO-RADS 4 or 5 called positive, each with its 95 % interval.
READER_SENSITIVITY = (0.858, 0.787, 0.909)
READER_SPECIFICITY = (0.846, 0.795, 0.885)
READER = "CO-RADS ≥ 4 readers"
READER_SOURCE = "PMC7808356"

_SIZE = (4.2, 4.3)


def operating_point(answers: Answers) -> tuple[float, float, float]:
    """Sensitivity, specificity and positive predictive value of the decisions; NaN where none."""
    positive, decided = answers.label == 1, answers.decision == 1

    def share(which: np.ndarray) -> float:
        return float(which.mean()) if which.size else math.nan

    return share(decided[positive]), share(~decided[~positive]), share(positive[decided])


def _why_no_curve(answers: Answers) -> str | None:
    if not len(answers):
        return "no prediction was made"
    if not np.isfinite(answers.probability).all():
        return "some probabilities are not finite"
    if len(set(answers.label.tolist())) < 2:
        return "the test split has one class only"
    return None


def _has_curve(answers: Answers) -> bool:
    return _why_no_curve(answers) is None


def _units(facts: RunFacts, answers: Answers) -> list[tuple[str, str, str, Answers, UnitFigures]]:
    """Slices, and patients where they have a curve: name, colour, line, answers and figures."""
    overall = facts.evaluation.overall
    units = [("slices", BLUE, "-", answers, overall.slices)]
    patients = by_patient(answers)
    if _has_curve(patients):
        units.append(("patients", VERMILION, "--", patients, overall.patients))
    return units


def draw_roc(facts: RunFacts, answers: Answers) -> Picture:
    """The ROC curves, with readers of a meta-analysis as a point of reference."""
    name, title = "roc", "ROC curve"
    if why := _why_no_curve(answers):
        return draw_nothing(name, title, why)
    units = _units(facts, answers)

    def paint(figure: Figure) -> None:
        axes = unit_square(figure, "1 − specificity", "sensitivity")
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2, label="by chance")
        for unit, colour, line, rows, found in units:
            false_positive, true_positive, _ = roc_curve(rows.label, rows.probability)
            axes.plot(
                *thin(false_positive, true_positive),
                line,
                color=colour,
                label=f"{unit}, AUC {number(found.figures[AUC].value)}",
            )
            sensitivity, specificity, _ = operating_point(rows)
            axes.plot(
                1 - specificity,
                sensitivity,
                "o" if unit == "slices" else "s",
                color=colour,
                markersize=8,
                label=f"operating point, {unit}",
            )
        sensitivity, *ends = READER_SENSITIVITY
        specificity, *other_ends = READER_SPECIFICITY
        axes.errorbar(
            1 - specificity,
            sensitivity,
            xerr=[[max(other_ends) - specificity], [specificity - min(other_ends)]],
            yerr=[[sensitivity - min(ends)], [max(ends) - sensitivity]],
            fmt="D",
            color=GREY,
            markersize=6,
            linewidth=1.2,
            label=f"{READER}\n({READER_SOURCE})",
        )
        figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2, handlelength=1.8)

    said = [
        f"{unit}: area {number(found.figures[AUC].value)}; at the operating point sensitivity is "
        f"{number(operating_point(rows)[0])} and specificity {number(operating_point(rows)[1])}"
        for unit, _, _, rows, found in units
    ]
    alt = (
        f"ROC curve on the test split. Of {'. Of '.join(said)}. For reference, {READER} have "
        f"a sensitivity of {number(READER_SENSITIVITY[0])} and a specificity of "
        f"{number(READER_SPECIFICITY[0])} ({READER_SOURCE})."
    )
    return draw(name, title, alt, paint, _SIZE)


def _precision_steps(precision: np.ndarray, recall: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision of a curve in steps, whose area is the average precision.

    Args:
      precision: of `precision_recall_curve`, [n].
      recall: likewise; it falls to 0.

    Returns:
      Recall and precision of fewer points, each precision holding up to the next recall.
    """
    # Between two recalls, average precision takes the precision at the higher one, which is the
    # first here; the last precision, at a recall of 0, is no call's.
    widths = -np.diff(recall)
    (kept,) = thin(np.arange(len(recall)))
    starts = kept[:-1]
    together = np.add.reduceat(widths, starts)
    areas = np.add.reduceat(widths * precision[:-1], starts)
    # Steps that are left out are levelled with those that stay, which keeps the area.
    heights = np.divide(areas, together, out=precision[starts], where=together > 0.0)
    return recall[kept], np.append(heights, heights[-1])


def draw_precision_recall(facts: RunFacts, answers: Answers) -> Picture:
    """The precision-recall curves."""
    name, title = "precision-recall", "Precision and recall"
    if why := _why_no_curve(answers):
        return draw_nothing(name, title, why)
    units = _units(facts, answers)
    prevalence = float((answers.label == 1).mean())

    def paint(figure: Figure) -> None:
        axes = unit_square(figure, "recall (sensitivity)", "precision (positive predictive value)")
        axes.axhline(
            prevalence,
            color=GREY,
            linestyle=":",
            linewidth=1.2,
            label=f"by chance: {number(prevalence)} of the slices",
        )
        for unit, colour, line, rows, found in units:
            precision, recall, _ = precision_recall_curve(
                rows.label, rows.probability, drop_intermediate=True
            )
            axes.plot(
                *_precision_steps(precision, recall),
                line,
                color=colour,
                drawstyle="steps-post",
                label=f"{unit}, average {number(found.figures[AVERAGE_PRECISION].value)}",
            )
            sensitivity, _, ppv = operating_point(rows)
            axes.plot(
                sensitivity,
                ppv,
                "o" if unit == "slices" else "s",
                color=colour,
                markersize=8,
                label=f"operating point, {unit}",
            )
        figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2, handlelength=1.8)

    said = [
        f"{unit}: average precision {number(found.figures[AVERAGE_PRECISION].value)}; at the "
        f"operating point recall is {number(operating_point(rows)[0])} and precision "
        f"{number(operating_point(rows)[2])}"
        for unit, _, _, rows, found in units
    ]
    alt = (
        f"Precision against recall on the test split. Of {'. Of '.join(said)}. "
        f"{number(prevalence)} of the slices are positive."
    )
    return draw(name, title, alt, paint, _SIZE)
