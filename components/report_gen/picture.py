"""A picture of the report: SVG that stands inside a page and works on light and dark."""

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

from transform.printable import printable

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
    # What names bring along is no formula.
    "text.parse_math": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
SIZE = (4.2, 3.35)
"""Inches, width and height, of a picture that asks for no other."""

# A curve of a million slices looks the same with so many corners.
_MOST_POINTS = 400


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


def inline(svg: str, name: str, alt: str) -> Markup:
    """The `<svg>` element of a file that Matplotlib wrote, for a place among others in a page.

    Args:
      svg: the file.
      name: what the identifiers in it begin with, so that no other picture has them.
      alt: what it shows.
    """
    svg = svg[svg.index("<svg") :]
    # The title would show wherever the pointer rests; the label is for those who cannot see.
    svg = re.sub(r"<title>.*?</title>\s*|<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # The style would apply to the whole page; the page's own has it.
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    label = f'<svg role="img" aria-label="{escape(printable(alt))}"'
    # Matplotlib escapes what is drawn, and the label is escaped above.
    return Markup(svg.replace("<svg", label, 1).strip())


def draw(
    name: str,
    title: str,
    alt: str,
    paint: Callable[[Figure], None],
    size: tuple[float, float] = SIZE,
) -> Picture:
    """A picture that `paint` fills; the same strokes give the same bytes.

    Args:
      name: see `Picture`.
      title: likewise.
      alt: likewise.
      paint: draws into an empty figure.
      size: width and height, inches.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        text = io.StringIO()
        figure.savefig(
            text,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    return Picture(name, title, alt, inline(text.getvalue(), name, alt))


def draw_nothing(name: str, title: str, why: str) -> Picture:
    """A picture that says why there is none."""

    def paint(figure: Figure) -> None:
        figure.text(0.5, 0.5, why, ha="center", va="center", wrap=True)

    return draw(name, title, f"Nothing to draw: {why}.", paint)


def thin(*arrays: np.ndarray) -> list[np.ndarray]:
    """The same curve with fewer points, its ends among them.

    Args:
      arrays: its coordinates, [n] each.
    """
    kept = np.unique(np.linspace(0, len(arrays[0]) - 1, _MOST_POINTS).round().astype(int))
    return [array[kept] for array in arrays]


def unit_square(figure: Figure, x_label: str, y_label: str) -> Axes:
    """Axes of two shares."""
    axes = figure.add_subplot()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x_label, ylabel=y_label)
    return axes
