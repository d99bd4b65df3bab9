"""The figures of the test split's groups, as rows and as a picture."""

from __future__ import annotations

import dataclasses

from matplotlib.figure import Figure

from components.report_gen.interval_plot import ROW_HEIGHT, PlottedRow, Series, paint_rows
from components.report_gen.picture import BLUE, GREY, VERMILION, Picture, draw
from components.run_facts.facts import RunFacts
from components.run_facts.wording import AGE_BANDS, GROUPING_NAMES, number
from components.slice_evaluator.figures import SENSITIVITY, SPECIFICITY
from components.slice_evaluator.groups import (
    ASSUMED,
    CALIBRATED,
    HOUNSFIELD,
    SOURCE,
    UNKNOWN,
)
from components.slice_evaluator.measured import Part
from transform.printable import printable

# Beside a row of the picture there is little room, and of these the name alone is clear.
_SAY_ENOUGH = (SOURCE, HOUNSFIELD)
_NAMES = {
    (HOUNSFIELD, CALIBRATED): "HU from the scanner",
    (HOUNSFIELD, ASSUMED): "HU from a window",
}
# What is not here goes by its name, before what is unknown.
_ORDER = {group: place for place, group in enumerate((*AGE_BANDS, UNKNOWN))}

# Of sources there can be thousands; a reader looks at the largest.
MOST_OF_A_GROUPING = 20
_LONGEST_LABEL = 26


@dataclasses.dataclass(frozen=True)
class GroupRow:
    """One group.

    Attributes:
      name: for people.
      part: its figures.
    """

    name: str
    part: Part


@dataclasses.dataclass(frozen=True)
class Grouping:
    """Groups by one feature.

    Attributes:
      name: one of `groups.GROUPINGS`.
      title: for people.
      rows: the groups that are shown: the largest where there are too many.
      left_out: how many are not.
    """

    name: str
    title: str
    rows: list[GroupRow]
    left_out: int


def _title(grouping: str) -> str:
    return GROUPING_NAMES.get(grouping, grouping)


def _tells_apart(parts: dict[str, Part]) -> bool:
    """Whether a grouping says more than that nothing is known of any slice."""
    return bool(set(parts) - {UNKNOWN})


def shown_groupings(facts: RunFacts) -> list[Grouping]:
    """The groupings that tell slices apart, or say what all of them are."""
    groupings = []
    for grouping, parts in facts.evaluation.groups.items():
        if not _tells_apart(parts):
            continue
        largest = sorted(parts, key=lambda one: (-parts[one].patients.count, one))
        kept = set(largest[:MOST_OF_A_GROUPING])
        rows = [
            GroupRow(_NAMES.get((grouping, name), printable(name)), part)
            for name, part in sorted(parts.items(), key=lambda one: (_ORDER.get(one[0], 0), one[0]))
            if name in kept
        ]
        groupings.append(Grouping(grouping, _title(grouping), rows, len(parts) - len(rows)))
    return groupings


def unknown_groupings(facts: RunFacts) -> list[str]:
    """Titles of the groupings by which nothing is known of any slice."""
    return [
        _title(grouping)
        for grouping, parts in facts.evaluation.groups.items()
        if parts and not _tells_apart(parts)
    ]


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"


def draw_groups(facts: RunFacts) -> Picture | None:
    """Sensitivity and specificity of slices by group; None where there are no groups."""
    groupings = shown_groupings(facts)
    if not groupings:
        return None

    def plotted(label: str, part: Part) -> PlottedRow:
        found = part.slices.figures
        return PlottedRow(
            f"{_short(label)} ({part.patients.count:,})",
            [found[SENSITIVITY], found[SPECIFICITY]],
            faint=part.small,
        )

    overall = facts.evaluation.overall
    rows = [plotted("all", overall)]
    said = []
    for grouping in groupings:
        for row in grouping.rows:
            label = f"{grouping.title.lower()} {row.name}"
            shown = row.name if grouping.name in _SAY_ENOUGH else label
            rows.append(plotted(shown, row.part))
            figures = row.part.slices.figures
            said.append(
                f"{label}: {number(figures[SENSITIVITY].value, 2)} and "
                f"{number(figures[SPECIFICITY].value, 2)}"
            )

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        colours = (BLUE, VERMILION)
        for name, colour in zip((SENSITIVITY, SPECIFICITY), colours, strict=True):
            value = overall.slices.figures[name].value
            axes.axvline(value, color=colour, linestyle=":", linewidth=1.2)
        axes.axhline(0.5, color=GREY, linewidth=0.8, alpha=0.5)
        series = [Series("sensitivity", BLUE, "o"), Series("specificity", VERMILION, "s")]
        paint_rows(axes, rows, series)
        axes.set(xlim=(-0.02, 1.02))
        figure.legend(loc="outside lower center", ncols=2)

    alt = f"Sensitivity and specificity of slices by group: {'; '.join(said)}."
    size = (4.6, 0.9 + ROW_HEIGHT * len(rows))
    return draw("groups-picture", "Slices by group", alt, paint, size)
