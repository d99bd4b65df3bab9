"""Histograms of pixel statistics by class, as SVG that takes its colours from the page."""

from __future__ import annotations

import dataclasses

import numpy as np
from markupsafe import Markup, escape

from pipeline.inspection.sample import Sample
from pipeline.inspection.wording import NEGATIVE, POSITIVE, UNLABELLED

_WIDTH, _HEIGHT = 300, 110
_BINS = 30
# What lies outside is drawn in the outermost bars: one slice must not squeeze all others.
_TAILS = (0.5, 99.5)

_TITLES = {
    "mean_hu": ("Mean", "HU"),
    "std_hu": ("Spread (SD)", "HU"),
    "min_hu": ("Lowest value", "HU"),
    "max_hu": ("Highest value", "HU"),
    "lung_fraction": ("Lung-dense share", ""),
    "sharpness": ("Sharpness", ""),
    "noise": ("Noise", "HU"),
    "spacing": ("Pixel spacing", "mm"),
}
_LABELS = ((POSITIVE, 1), (NEGATIVE, 0), (UNLABELLED, -1))


@dataclasses.dataclass(frozen=True)
class Histogram:
    """One picture.

    Attributes:
      title: a few words.
      low: the left end of the axis, with its unit.
      high: the right end.
      svg: an `<svg>` element.
      medians: of each class, in words.
    """

    title: str
    low: str
    high: str
    svg: Markup
    medians: str


def _number(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _outline(shares: np.ndarray, tallest: float) -> str:
    """The path of a histogram: up and down over the bins, from the axis and back to it."""
    edges = np.linspace(0, _WIDTH, len(shares) + 1)
    heights = _HEIGHT - shares / tallest * (_HEIGHT - 4)
    corners = [f"M0 {_HEIGHT}"]
    for left, right, top in zip(edges[:-1], edges[1:], heights, strict=True):
        corners.append(f"L{left:.1f} {top:.1f}L{right:.1f} {top:.1f}")
    return "".join([*corners, f"L{_WIDTH} {_HEIGHT}"])


def _draw(values: np.ndarray, label: np.ndarray, title: str, unit: str) -> Histogram:
    low, high = np.percentile(values, _TAILS)
    if low == high:
        low, high = low - 0.5, high + 0.5
    by_class = {}
    for name, meant in _LABELS:
        of_class = values[label == meant]
        if of_class.size:
            counts, _ = np.histogram(np.clip(of_class, low, high), _BINS, (low, high))
            by_class[name] = (counts / of_class.size, float(np.median(of_class)))
    tallest = max(float(shares.max()) for shares, _ in by_class.values())
    medians = ", ".join(f"{_number(middle)} {name}" for name, (_, middle) in by_class.items())
    paths = "".join(
        f'<path class="{name}" d="{_outline(shares, tallest)}"/>'
        for name, (shares, _) in by_class.items()
    )
    alt = f"{title}: median {medians}"
    svg = (
        f'<svg viewBox="0 -1 {_WIDTH} {_HEIGHT + 2}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(alt)}">{paths}</svg>'
    )
    unit = f" {unit}" if unit else ""
    # Names of classes and numbers only, and the label is escaped.
    return Histogram(title, _number(low) + unit, _number(high) + unit, Markup(svg), medians)


def draw_histograms(sample: Sample) -> list[Histogram]:
    """A histogram of each statistic that is known of any slice."""
    drawn = []
    for name, (title, unit) in _TITLES.items():
        values = sample.numbers[name]
        known = np.isfinite(values)
        if known.any():
            drawn.append(_draw(values[known], sample.label[known], title, unit))
    return drawn
