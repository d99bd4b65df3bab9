"""Pictures of a training beside its record: learning curves, calibration, choice of the threshold.

Each is written twice: as a PNG for whoever opens the folder, and as an SVG for the report.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainer.calibration import expected_calibration_error, probabilities, reliability_bins
from trainer.operating_point import ThresholdCurve
from transform.training_record import (
    CALIBRATION,
    FIXED_RULE,
    LEARNING_CURVES,
    THRESHOLD,
    EpochRecord,
    OperatingPoint,
)
from transform.whole_file import write_whole

# Blue and vermilion of Okabe and Ito's colour-blind safe palette, dark enough for a contrast of 3
# to 1 on white and light enough for it on near-black; lines differ by their dashes too.
_BLUE, _VERMILION, _GREY = "#2e86c9", "#d9601a", "#808080"

_STYLE: dict[Any, Any] = {
    # The same picture has the same bytes.
    "svg.hashsalt": "ctnet",
    # Text stays text, which takes the colour and the font of the page it stands in.
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": "#404040",
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": "#404040",
    "axes.labelcolor": "#404040",
    "xtick.labelcolor": "#404040",
    "ytick.labelcolor": "#404040",
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _GREY,
    "grid.alpha": 0.22,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
}
_SIZE = (4.2, 3.35)
_DPI = 200
# More epochs than these stand too close for a dot each.
_MOST_DOTS = 12


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
      name: of its files, without what they end in.
      alt: what it shows, for those who cannot see it; the SVG's title.
      png: the PNG file, on white.
      svg: the SVG file, transparent.
    """

    name: str
    alt: str
    png: bytes
    svg: bytes

    def write(self, folder: str) -> None:
        """Write both files.

        Raises:
          StorageError: the folder cannot be written.
        """
        write_whole(f"{folder}/{self.name}.png", self.png)
        write_whole(f"{folder}/{self.name}.svg", self.svg)


def _draw(name: str, alt: str, paint: Callable[[Figure], None]) -> Picture:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        paint(figure)
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", dpi=_DPI, metadata={"Title": alt})
        undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(svg, format="svg", transparent=True, metadata={**undated, "Title": alt})
    return Picture(name, alt, png.getvalue(), svg.getvalue())


def _phases(epochs: list[EpochRecord]) -> list[tuple[str, int, int]]:
    """Each phase with the numbers of its first and last epoch, from 1 over all phases."""
    starts = [
        index
        for index, epoch in enumerate(epochs)
        if index == 0 or epochs[index - 1].phase != epoch.phase
    ]
    ends = [*starts[1:], len(epochs)]
    return [(epochs[start].phase, start + 1, end) for start, end in zip(starts, ends, strict=True)]


def draw_learning_curves(epochs: list[EpochRecord], kept: int) -> Picture:
    """Loss and AUC over the epochs, of training and validation.

    Args:
      epochs: of both phases; at least one.
      kept: position of the one whose weights were exported.
    """
    numbers = np.arange(1, len(epochs) + 1)
    phases = _phases(epochs)
    said = [
        f"{phase}: epoch {first}" if first == last else f"{phase}: epochs {first}\N{EN DASH}{last}"
        for phase, first, last in phases
    ]

    def curve(metric: str) -> np.ndarray:
        return np.array([epoch.metrics.get(metric, np.nan) for epoch in epochs], np.float64)

    auc = curve("val_auc")

    def paint(figure: Figure) -> None:
        upper, lower = figure.subplots(2, sharex=True)
        marker = "o" if len(epochs) <= _MOST_DOTS else ""
        for axes, metric, label in ((upper, "loss", "loss"), (lower, "auc", "AUC")):
            for key, colour, line, of in (
                (f"val_{metric}", _BLUE, "-", "validation"),
                (metric, _GREY, "--", "training"),
            ):
                axes.plot(
                    numbers, curve(key), line, color=colour, marker=marker, markersize=3.5, label=of
                )
            axes.set_ylabel(label)
            for _, first, _ in phases[1:]:
                axes.axvline(first - 0.5, color=_GREY, linewidth=1.0, alpha=0.7)
        lower.plot(numbers[kept], auc[kept], "o", color=_VERMILION, markersize=6, label="exported")
        upper.set_title("  |  ".join(said), parse_math=False)
        lower.set(xlabel="epoch", xlim=(0.5, len(epochs) + 0.5))
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(*lower.get_legend_handles_labels(), loc="outside lower center", ncols=3)

    alt = (
        f"Loss and AUC of training and validation over {len(epochs)} epochs "
        f"({', '.join(said)}). The weights after epoch {numbers[kept]} were exported; their "
        f"validation AUC, before flip averaging, is {auc[kept]:.3f}."
    )
    return _draw(LEARNING_CURVES, alt, paint)


def draw_calibration(logits: np.ndarray, labels: np.ndarray, temperature: float) -> Picture:
    """The reliability diagram of the validation split, before and after calibration.

    Args:
      logits: float [n].
      labels: int [n], 0 or 1.
      temperature: of the calibration.
    """
    stages = []
    for stage, divisor in (("before", 1.0), ("after", temperature)):
        probability = probabilities(logits, divisor)
        error = expected_calibration_error(probability, labels)
        stages.append((stage, reliability_bins(probability, labels), probability, error))
    (_, _, _, before), (_, _, _, after) = stages

    def paint(figure: Figure) -> None:
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], ":", color=_GREY, linewidth=1.2, label="calibrated")
        edges = np.linspace(0.0, 1.0, 11).tolist()
        for (stage, bins, probability, error), colour, line, fill in zip(
            stages, (_GREY, _BLUE), ("o--", "o-"), ("none", _BLUE), strict=True
        ):
            upper.plot(
                bins.stated,
                bins.observed,
                line,
                color=colour,
                markerfacecolor=fill,
                markersize=5,
                linewidth=1.4,
                clip_on=False,
                label=f"{stage}: error {error:.3f}",
            )
            lower.hist(
                probability,
                edges,
                histtype="step" if stage == "before" else "stepfilled",
                linestyle="--" if stage == "before" else "-",
                color=colour,
                alpha=1.0 if stage == "before" else 0.5,
            )
        upper.set(ylabel="share that is positive", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        upper.set_title(f"Validation split, temperature {temperature:.3g}")
        upper.legend(loc="upper left")
        lower.set(xlabel="stated probability", ylabel="slices")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))

    alt = (
        f"Reliability diagram of {len(labels)} validation slices. The expected calibration error "
        f"is {before:.3f} before and {after:.3f} after division of the logits by {temperature:.3g}."
    )
    return _draw(CALIBRATION, alt, paint)


def draw_threshold(curve: ThresholdCurve, point: OperatingPoint) -> Picture:
    """Sensitivity and specificity over the threshold on the validation split, and the choice."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for rate, colour, line, name in (
            (curve.sensitivity, _BLUE, "-", "sensitivity"),
            (curve.specificity, _VERMILION, "--", "specificity"),
        ):
            value, low, high = rate
            axes.fill_between(curve.thresholds, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(curve.thresholds, value, line, color=colour, label=name)
        if point.target_sensitivity is not None:
            axes.axhline(
                point.target_sensitivity,
                color=_BLUE,
                linestyle=":",
                linewidth=1.2,
                label=f"target {point.target_sensitivity:.3g}",
            )
        if point.rule != FIXED_RULE:
            axes.axvspan(
                *point.threshold_interval,
                color=_GREY,
                alpha=0.15,
                linewidth=0,
                label="chosen by 95 % of the resamples",
            )
        axes.axvline(
            point.threshold, color=_GREY, linestyle="-.", label=f"threshold {point.threshold:.3f}"
        )
        axes.set(
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            xlabel="threshold",
            ylabel="share decided correctly",
        )
        axes.set_title(f"Validation split; bands: 95 % of {point.resamples:,} resamples")
        figure.legend(loc="outside lower center", ncols=2)

    alt = (
        "Sensitivity and specificity on the validation split over the threshold. At the chosen "
        f"threshold of {point.threshold:.3f}, 95 % of {point.resamples:,} resamples of its "
        f"patients have a sensitivity between {point.sensitivity_interval[0]:.3f} and "
        f"{point.sensitivity_interval[1]:.3f} and a specificity between "
        f"{point.specificity_interval[0]:.3f} and {point.specificity_interval[1]:.3f}."
    )
    return _draw(THRESHOLD, alt, paint)
