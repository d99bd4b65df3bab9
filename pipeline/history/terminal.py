"""What a person sees of a history: a table of the runs, and one of their figures."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Callable, Mapping

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.run_facts.numbers import has_spread
from components.slice_evaluator.figure_names import (
    EXAMPLE_COUNT,
    LOWER,
    PATIENTS,
    SLICES,
    UPPER,
    name_of,
)
from pipeline.history.index import short_ids
from pipeline.history.run_history import FIGURES, DataRead, History, ModelOfRun, PastRun, Verdict
from pipeline.run_folder.workdir import Workdir
from transform.printable import printable

_FINGERPRINT_DIGITS = 8
_NO_SPREAD = "no spread"
_NAMED_BOUNDS = 2
# Characters between columns, and those that a wrapped column has at least.
_GAP, _WRAPPED = 2, 24
_COUNTS = {PATIENTS: PATIENTS, SLICES: EXAMPLE_COUNT}


@dataclasses.dataclass(frozen=True)
class _Column:
    """A column of a table.

    Attributes:
      heading: what it is called.
      cell: a row's text.
      worth: the columns of the lowest worth are left out first where the terminal is narrow.
      wraps: whether its text may take several lines.
    """

    heading: str
    cell: Callable[[tuple[PastRun, str]], str]
    worth: int
    wraps: bool = False


def _data(data: DataRead) -> str:
    if data.span is not None:
        several = data.choice is not None and data.choice.startswith("last:")
        return f"span {data.span} ({data.choice})" if several else f"span {data.span}"
    if data.choice is not None:
        return f"span {data.choice}"
    return (data.fingerprint or "")[:_FINGERPRINT_DIGITS]


def _not_blessed(run: PastRun) -> str:
    names = [one["metric"] for one in run.failed_bounds]
    more = len(names) - _NAMED_BOUNDS
    shown = [*names[:_NAMED_BOUNDS], *([f"{more} more"] if more > 0 else [])]
    return f"not blessed: {', '.join(shown)}" if shown else "not blessed"


def _verdict(run: PastRun) -> str:
    pushed = f"pushed {run.version}" + (" (gone)" if "version" in run.gone else "")
    where = {Verdict.FAILED: "failed at", Verdict.KILLED: "killed in", Verdict.RUNNING: "now in"}
    if run.verdict is Verdict.PUSHED:
        said = pushed
    elif run.verdict is Verdict.NOT_BLESSED:
        said = _not_blessed(run)
    elif run.verdict is Verdict.REFUSED_BY_SERVER:
        said = "refused by the server"
    elif run.verdict is Verdict.ROLLED_BACK_FROM:
        said = "not pushed: rolled back from"
    else:
        said = f"{where[run.verdict]} {run.step}" if run.step else f"{run.verdict} at once"
        said += f", {pushed}" if run.version else ""
    return f"{said}, cached" if run.cached else said


def _model(model: ModelOfRun | None) -> str:
    if model is None:
        return ""
    return "unknown" if model.number is None else f"run {model.number}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _figure(metrics: Mapping[str, float | None], name: str) -> str:
    if name not in metrics:
        return ""
    lower, upper = (metrics.get(f"{name}{end}") for end in (LOWER, UPPER))
    if lower is None or upper is None:
        return _number(metrics[name])
    ends = f"{_number(lower)}-{_number(upper)}" if has_spread(lower, upper) else _NO_SPREAD
    return f"{_number(metrics[name])} ({ends})"


def _what_of(run: PastRun, unit: str) -> str:
    if not run.metrics:
        return "gone" if "evaluation" in run.gone else "no record"
    count = run.metrics.get(_COUNTS[unit])
    return unit if count is None else f"{count:.0f} {unit}"


def _width(column: _Column, rows: list[tuple[PastRun, str]]) -> int:
    """What a column needs, in characters."""
    widest = max(cell_len(text) for text in (column.heading, *map(column.cell, rows)))
    return min(widest, _WRAPPED) if column.wraps else widest


def _fitting(
    title: str, columns: list[_Column], rows: list[tuple[PastRun, str]], console: Console
) -> Table:
    """A table of as many of the columns as there is room for."""
    shown = sorted(columns, key=lambda one: one.worth)
    while len(shown) > 1 and sum(_width(one, rows) + _GAP for one in shown) - _GAP > console.width:
        shown = shown[1:]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    shown = [one for one in columns if one in shown]
    for one in shown:
        table.add_column(one.heading, no_wrap=not one.wraps, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(one.cell(row))) for one in shown))
    return table


def _table_of_runs(history: History, console: Console) -> Table:
    short = short_ids([run.run for run in history.runs])
    columns = [
        _Column("#", lambda row: str(row[0].number), 9),
        _Column("run", lambda row: short[row[0].run], 8),
        _Column("data", lambda row: _data(row[0].data), 3),
        _Column("verdict", lambda row: _verdict(row[0]), 9, wraps=True),
        _Column("parent", lambda row: _model(row[0].parent), 2),
        _Column("against", lambda row: _model(row[0].compared_with), 1),
    ]
    # A column without a word in it only takes room.
    rows = [(run, "") for run in history.runs]
    columns = [one for one in columns if any(map(one.cell, rows))]
    return _fitting("Runs", columns, rows, console)


def _table_of_figures(history: History, console: Console) -> Table | None:
    units = {True: (PATIENTS, SLICES), False: (PATIENTS,)}
    rows = list(
        itertools.chain.from_iterable(
            [(run, unit) for unit in units[bool(run.metrics)]]
            for run in history.runs
            if run.evaluation is not None
        )
    )
    if not rows:
        return None

    def figure(name: str) -> Callable[[tuple[PastRun, str]], str]:
        return lambda row: _figure(row[0].metrics, name_of(name, row[1]))

    columns = [
        _Column("#", lambda row: str(row[0].number), 9),
        _Column("of", lambda row: _what_of(*row), 3),
        *(
            _Column("AUC" if name == "auc" else name, figure(name), worth)
            for worth, name in zip((1, 2, 4), FIGURES, strict=True)
        ),
    ]
    return _fitting("Test split (95 % intervals)", columns, rows, console)


def _lacks_spread(history: History) -> bool:
    return any(
        _figure(run.metrics, name_of(name, unit)).endswith(f"({_NO_SPREAD})")
        for run in history.runs
        for unit in _COUNTS
        for name in FIGURES
    )


def _served(history: History) -> str:
    if history.serving is None:
        return f"Served now: nothing; {Workdir(history.workdir).serving} has no version."
    whose = f"the model of run {history.served}" if history.served else "of no run here"
    served = f"Served now: version {history.serving}, {whose}"
    back = [one for one in history.rollbacks if one.version == history.serving]
    if back:
        when = datetime.datetime.fromtimestamp(back[-1].when / 1000)
        served += f", by a rollback from version {back[-1].from_version} on {when:%Y-%m-%d %H:%M}"
    return f"{served}."


def print_history(history: History, console: Console) -> None:
    """Print a history for people; on a narrow terminal with fewer columns."""
    console.print(_table_of_runs(history, console))
    figures = _table_of_figures(history, console)
    if figures is not None:
        console.print()
        console.print(figures)
    if figures is not None and _lacks_spread(history):
        console.print(f"{_NO_SPREAD}: all resamples gave this value, which is no certainty")
    refused = [run for run in history.runs if run.refused]
    if refused:
        console.print()
    for run in refused:
        console.print(
            f"Run {run.number}: the server trial refused: {printable(run.refused or '')}",
            markup=False,
            highlight=False,
        )
    console.print()
    console.print(_served(history), markup=False, highlight=False, soft_wrap=True)
