"""The report's pictures, as SVG that stands inside a page and works on light and dark."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from components.report_gen.content import Predictions, ReportContent
from components.run_facts.wording import count, number
from components.slice_evaluator.figures import AUC
from transform.training_record import CALIBRATION, LEARNING_CURVES, THRESHOLD

# Blue and vermilion of Okabe and Ito's colour-blind safe palette, and a grey; each lightened or
# darkened until it keeps a contrast of 3 to 1 and more on white and on near-black.
BLUE, VERMILION, GREY = "#2e86c9", "#d9601a", "#808080"

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "ctnet",
    # Text stays text: it is small, can be searched, and takes the page's colour and font.
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.22,
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.color": GREY,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
_TRAINING_TITLES = {
    LEARNING_CURVES: "Learning curves",
    CALIBRATION: "Calibration",
    THRESHOLD: "Choice of the threshold",
}
_SIZE = (4.2, 3.35)
# A curve of a million slices looks the same with so many corners.
_MOST_POINTS = 400
_BINS = 10


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
      name: an identifier, unique in the page.
      title: a few words.
      alt: what it shows, for those who cannot see it.
      svg: an `<svg>` element.
    """

    name: str
    title: str
    alt: str
    svg: Markup


def _to_svg(figure: Figure, name: str, alt: str) -> Markup:
    """The `<svg>` element of a figure, with identifiers that no other picture in a page has."""
    text = io.StringIO()
    figure.savefig(
        text,
        format="svg",
        transparent=True,
        metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
    )
    return _inline(text.getvalue(), name, alt)


def _inline(svg: str, name: str, alt: str) -> Markup:
    """The `<svg>` element of a file that Matplotlib wrote, for a place among others in a page."""
    svg = svg[svg.index("<svg") :]
    # The title would show wherever the pointer rests; the label is for those who cannot see.
    svg = re.sub(r"<title>.*?</title>\s*|<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # The style would apply to the whole page; the page's own has it.
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    label = f'<svg role="img" aria-label="{escape(alt)}"'
    # Matplotlib escapes what is drawn, and the label is escaped above.
    return Markup(svg.replace("<svg", label, 1).strip())


def _draw(name: str, title: str, alt: str, paint: Callable[[Figure], None]) -> Picture:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        paint(figure)
        return Picture(name, title, alt, _to_svg(figure, name, alt))


def _draw_nothing(name: str, title: str, why: str) -> Picture:
    """A picture that says why there is none."""

    def paint(figure: Figure) -> None:
        figure.text(0.5, 0.5, why, ha="center", va="center", wrap=True)

    return _draw(name, title, f"Nothing to draw: {why}.", paint)


def _thin(*arrays: np.ndarray) -> list[np.ndarray]:
    """The same curve with fewer points, its ends among them."""
    kept = np.unique(np.linspace(0, len(arrays[0]) - 1, _MOST_POINTS).round().astype(int))
    return [array[kept] for array in arrays]


def _square_unit_axes(figure: Figure, x_label: str, y_label: str) -> Axes:
    axes = figure.add_subplot()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x_label, ylabel=y_label)
    return axes


def _share(which: np.ndarray) -> float:
    return float(which.mean()) if which.size else float("nan")


def _operating_point(predictions: Predictions) -> tuple[float, float, float]:
    """Sensitivity, specificity and positive predictive value of the decisions."""
    positive, decided = predictions.label == 1, predictions.decision == 1
    return _share(decided[positive]), _share(~decided[~positive]), _share(positive[decided])


def _why_no_curve(predictions: Predictions) -> str | None:
    if not len(predictions):
        return "no prediction was made"
    if not np.isfinite(predictions.probability).all():
        return "some probabilities are not finite"
    if len(set(predictions.label)) < 2:
        return "the test split has one class only"
    return None


def _draw_roc(content: ReportContent) -> Picture:
    name, title = "roc", "ROC curve"
    predictions = content.predictions
    if why := _why_no_curve(predictions):
        return _draw_nothing(name, title, why)
    false_positive, true_positive, _ = roc_curve(predictions.label, predictions.probability)
    sensitivity, specificity, _ = _operating_point(predictions)
    auc = number(content.facts.gate.metrics.get(AUC, float("nan")))

    def paint(figure: Figure) -> None:
        axes = _square_unit_axes(figure, "1 − specificity", "sensitivity")
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2, label="by chance")
        axes.plot(*_thin(false_positive, true_positive), color=BLUE, label=f"model, AUC {auc}")
        axes.plot(
            1 - specificity,
            sensitivity,
            "o",
            color=VERMILION,
            markersize=8,
            label=f"operating point\nsensitivity {number(sensitivity)}\n"
            f"specificity {number(specificity)}",
        )
        axes.legend(loc="lower right")

    alt = (
        f"ROC curve on the test split. Area {auc}; at the operating point sensitivity is "
        f"{number(sensitivity)} and specificity {number(specificity)}."
    )
    return _draw(name, title, alt, paint)


def _draw_precision_recall(content: ReportContent) -> Picture:
    name, title = "precision-recall", "Precision and recall"
    predictions = content.predictions
    if why := _why_no_curve(predictions):
        return _draw_nothing(name, title, why)
    precision, recall, _ = precision_recall_curve(
        predictions.label, predictions.probability, drop_intermediate=True
    )
    sensitivity, _, ppv = _operating_point(predictions)
    prevalence = _share(predictions.label == 1)

    def paint(figure: Figure) -> None:
        axes = _square_unit_axes(
            figure, "recall (sensitivity)", "precision (positive predictive value)"
        )
        axes.axhline(
            prevalence,
            color=GREY,
            linestyle=":",
            linewidth=1.2,
            label=f"by chance, {number(prevalence)} are positive",
        )
        axes.plot(*_thin(recall, precision), color=BLUE, drawstyle="steps-pre", label="model")
        axes.plot(sensitivity, ppv, "o", color=VERMILION, markersize=8, label="operating point")
        axes.legend(loc="lower left")

    alt = (
        f"Precision against recall on the test split. At the operating point recall is "
        f"{number(sensitivity)} and precision {number(ppv)}; {number(prevalence)} of the slices "
        "are positive."
    )
    return _draw(name, title, alt, paint)


def confusion_counts(predictions: Predictions) -> np.ndarray:
    """Slices int [2, 2] by label (row) and decision (column), negative first."""
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (predictions.label.astype(int), predictions.decision.astype(int)), 1)
    return counts


def _draw_confusion(content: ReportContent) -> Picture:
    name, title = "confusion", "Decisions at the operating point"
    if not len(content.predictions):
        return _draw_nothing(name, title, "no prediction was made")
    counts = confusion_counts(content.predictions)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        # Positive comes first, as in a textbook's two-by-two table.
        for row, label in enumerate((1, 0)):
            for column, decision in enumerate((1, 0)):
                share = shares[label, decision]
                right = label == decision
                axes.fill_between(
                    [column + 0.02, column + 0.98],
                    row + 0.02,
                    row + 0.98,
                    color=BLUE if right else VERMILION,
                    alpha=0.08 + 0.42 * share,
                    linewidth=0,
                )
                axes.text(
                    column + 0.5,
                    row + 0.45,
                    f"{counts[label, decision]:,}",
                    ha="center",
                    va="center",
                    fontsize=19,
                )
                axes.text(
                    column + 0.5,
                    row + 0.74,
                    f"{share:.0%} of the {'positives' if label else 'negatives'}",
                    ha="center",
                    va="center",
                )
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
        f"Confusion matrix on the test split: {count(counts[1, 1], 'true positive')}, "
        f"{count(counts[1, 0], 'false negative')}, {count(counts[0, 1], 'false positive')}, "
        f"{count(counts[0, 0], 'true negative')}."
    )
    return _draw(name, title, alt, paint)


def _draw_reliability(content: ReportContent) -> Picture:
    name, title = "reliability", "Reliability of the probabilities"
    predictions = content.predictions
    if not len(predictions) or not np.isfinite(predictions.probability).all():
        why = _why_no_curve(predictions)
        return _draw_nothing(name, title, why or "no prediction was made")
    which = np.minimum((predictions.probability * _BINS).astype(int), _BINS - 1)
    bins = np.unique(which)
    stated = np.array([predictions.probability[which == one].mean() for one in bins])
    observed = np.array([predictions.label[which == one].mean() for one in bins])
    sizes = np.array([(which == one).sum() for one in bins])

    def paint(figure: Figure) -> None:
        axes = _square_unit_axes(figure, "stated probability", "share that is positive")
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2, label="calibrated")
        axes.plot(stated, observed, color=BLUE, linewidth=1.2, alpha=0.6)
        # The share of slices shows as the dot's area.
        axes.scatter(
            stated,
            observed,
            s=20 + 300 * sizes / sizes.sum(),
            color=BLUE,
            clip_on=False,
            label="model; the larger, the more slices",
        )
        axes.legend(loc="upper left")

    said = [
        f"{number(at, 2)} stated, {number(seen, 2)} observed ({count(size, 'slice')})"
        for at, seen, size in zip(stated.tolist(), observed.tolist(), sizes.tolist(), strict=True)
    ]
    return _draw(name, title, f"Reliability diagram on the test split: {'; '.join(said)}.", paint)


def _draw_histogram(content: ReportContent) -> Picture:
    name, title = "histogram", "Probabilities by class"
    predictions = content.predictions
    if not len(predictions) or not np.isfinite(predictions.probability).all():
        why = _why_no_curve(predictions)
        return _draw_nothing(name, title, why or "no prediction was made")
    positive = predictions.probability[predictions.label == 1]
    negative = predictions.probability[predictions.label == 0]
    threshold = content.facts.training.threshold

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
        return number(float(np.median(values))) if values.size else "undefined"

    alt = (
        f"Histogram of the probabilities on the test split. Median {median(positive)} for positive "
        f"and {median(negative)} for negative slices; the threshold is {number(threshold)}."
    )
    return _draw(name, title, alt, paint)


def _drawn_in_training(name: str, svg: str) -> Picture:
    """A picture that training left, which says in its `<title>` what it shows."""
    found = re.search(r"<title>(.*?)</title>", svg, flags=re.DOTALL)
    alt = str(Markup(found[1]).unescape()) if found else ""
    return Picture(name, _TRAINING_TITLES[name], alt, _inline(svg, name, alt))


def draw_pictures(content: ReportContent) -> list[Picture]:
    """Every picture of a report; the same content gives the same bytes."""
    return [
        _draw_roc(content),
        _draw_precision_recall(content),
        _draw_confusion(content),
        _draw_histogram(content),
        _draw_reliability(content),
        *(_drawn_in_training(name, svg) for name, svg in content.training_pictures.items()),
    ]
