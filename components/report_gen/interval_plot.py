"""Figures with their intervals, one below the other, as in a forest plot."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from components.report_gen.picture import GREY
from components.slice_evaluator.measured import Figure as Measured

ROW_HEIGHT = 0.34
"""Inches that a row takes."""

_FAINT = 0.75


@dataclasses.dataclass(frozen=True)
class PlottedRow:
    """One row.

    Attributes:
      label: what stands beside it.
      figures: as many as the plot has series; NaN ones are left out.
      faint: whether it says little.
    """

    label: str
    figures: Sequence[Measured]
    faint: bool = False


@dataclasses.dataclass(frozen=True)
class Series:
    """What the rows have one figure of each.

    Attributes:
      label: for the legend.
      colour: of its marks.
      marker: as Matplotlib calls it.
    """

    label: str
    colour: str
    marker: str


def paint_rows(axes: Axes, rows: Sequence[PlottedRow], series: Sequence[Series]) -> None:
    """Draw figures as marks, and their intervals as lines through them.

    Args:
      axes: with nothing on them.
      rows: from the top.
      series: of the rows' figures.
    """
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    apart = 0.26 if len(series) > 1 else 0.0
    for place, one in enumerate(series):
        axes.plot([], [], one.marker, color=one.colour, markersize=5.5, label=one.label)
        for row, plotted in enumerate(rows):
            found = plotted.figures[place]
            if math.isnan(found.value):
                continue
            y = row + apart * (place - (len(series) - 1) / 2)
            shade = _FAINT if plotted.faint else 1.0
            if not math.isnan(found.lower + found.upper):
                axes.plot(
                    [found.lower, found.upper],
                    [y, y],
                    color=one.colour,
                    linewidth=1.4,
                    alpha=shade,
                )
            axes.plot(
                found.value,
                y,
                one.marker,
                color=one.colour,
                markersize=5.5,
                alpha=shade,
                markerfacecolor="none" if plotted.faint else one.colour,
            )
    axes.set(ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), [plotted.label for plotted in rows], color=GREY)
