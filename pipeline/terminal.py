"""What a person sees of a run: steps, epochs, and a summary at the end."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from components.run_facts.numbers import has_spread
from components.slice_evaluator.figure_names import (
    COUNTED,
    LOWER,
    PATIENTS,
    SLICES,
    UPPER,
    is_plain,
    name_of,
)
from components.slice_evaluator.leak_alarm import ADVICE
from pipeline.summary import Summary, Verdict
from transform.printable import printable

if TYPE_CHECKING:
    from trainer.progress import TrainingProgress

_WHAT_STEPS_DO = {
    "CTExampleGen": "read slices",
    "StatisticsGen": "statistics",
    "ImportSchemaGen": "schema",
    "SliceValidator": "validate",
    "Transform": "Hounsfield units to model input",
    "Trainer": "train",
    "ShortcutProbes": "look for shortcuts",
    "SliceEvaluator": "evaluate and gate",
    "ModelCardGen": "model card",
    "ServingValidator": "ask a real server",
    "AtomicPusher": "push",
    "ReportGen": "report",
}


_EPOCH_FIGURES = ("loss", "auc", "val_loss", "val_auc")
_STEP_FIGURES = ("loss", "auc")
# What leaves room for the rest of the line on a terminal of 80 columns.
_BAR_WIDTH = 10


def _figures(metrics: dict[str, float], wanted: tuple[str, ...]) -> str:
    return "  ".join(f"{name} {metrics[name]:.3f}" for name in wanted if name in metrics)


def _time_left(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.timedelta(seconds=round(seconds))} left"


class RunDisplay:
    """Progress on standard error: a line a step and an epoch, and a live line on a terminal."""

    def __init__(self) -> None:
        """Nothing is printed before `open`."""
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        self._task: object = None
        self._numbering = ""

    def open(self, out: TextIO, err: TextIO) -> None:
        """Print to the terminal's own files while this process's output goes to a log."""
        del out  # The summary goes there, when the run is over.
        self._console = Console(file=err, highlight=False)

    def _stop_live_line(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start_live_line(self, text: str, total: int | None = None) -> None:
        self._stop_live_line()
        if not self._console.is_terminal:
            return
        columns = [SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
        if total:
            columns = [
                *columns[:2],
                BarColumn(bar_width=_BAR_WIDTH),
                TextColumn("{task.fields[figures]}"),
                TextColumn("{task.fields[time_left]}"),
            ]
        # Rich would print what TFX logs to standard error, which goes to a file.
        self._progress = Progress(
            *columns,
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(text, total=total, figures="", time_left="")
        self._progress.start()

    def starting(self) -> None:
        """Libraries are being loaded, which takes a while."""
        self._start_live_line("loading TensorFlow and TFX")

    def note(self, text: str) -> None:
        """Something that a person should know has happened before the steps."""
        self._stop_live_line()
        self._console.print(text, markup=False, soft_wrap=True)

    def step_begun(self, name: str, number: int, steps: int) -> None:
        """A step begins."""
        self._numbering = f"[{number:2d}/{steps}]"
        self._start_live_line(f"{self._numbering} {name}")

    def step_ended(self, name: str, seconds: float, cached: bool) -> None:
        """A step has ended well."""
        self._stop_live_line()
        time = "cached" if cached else f"{seconds:.1f} s"
        what = _WHAT_STEPS_DO.get(name, "")
        self._console.print(
            f"{self._numbering:8}{name:18}{time:>9}  {what}", markup=False, soft_wrap=True
        )

    def step_failed(self, name: str) -> None:
        """A step has failed; the reason is printed at the end."""
        self._stop_live_line()
        self._console.print(
            f"{self._numbering:8}{name:18}{'failed':>9}", markup=False, soft_wrap=True
        )

    def training_progress(self, progress: TrainingProgress) -> None:
        """A training step or epoch is done, or training goes on after it was stopped."""
        where = f"{progress.phase} epoch {progress.epoch}/{progress.epochs}"
        if progress.resumed:
            self._print_in_step(f"training goes on at {where}")
        elif progress.finished:
            self._stop_live_line()
            self._print_in_step(f"{where:24}  {_figures(progress.metrics, _EPOCH_FIGURES)}")
        elif self._console.is_terminal:
            if self._progress is None or progress.step == 1:
                self._start_live_line(f"{self._numbering} {where}", progress.steps)
            assert self._progress is not None
            self._progress.update(
                self._task,  # type: ignore[arg-type]
                completed=progress.step,
                figures=_figures(progress.metrics, _STEP_FIGURES),
                time_left=_time_left(progress.seconds_left),
            )

    def _print_in_step(self, text: str) -> None:
        self._console.print(f"{'':8}{text}", markup=False, soft_wrap=True)

    def close(self) -> None:
        """Nothing more comes before the summary."""
        self._stop_live_line()


def _counts_table(summary: Summary) -> Table:
    table = Table(title="Data", title_justify="left", box=None, pad_edge=False)
    table.add_column("split")
    table.add_column("positive", justify="right")
    table.add_column("negative", justify="right")
    for split, by_class in summary.counts["examples"].items():
        table.add_row(split, str(by_class["positive"]), str(by_class["negative"]))
    return table


def _figure(value: float | None, digits: int = 3) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _limit(bound: dict[str, Any]) -> tuple[str, float]:
    """What a bound asks of its value."""
    at_most = bound.get("at_most")
    return ("at least", bound["at_least"]) if at_most is None else ("at most", at_most)


def _shortfall(bound: dict[str, Any]) -> str:
    """A failed bound, with as many digits as it takes to see that it failed."""
    value, (side, limit) = bound["value"], _limit(bound)
    for digits in range(3, 9):
        if _figure(value, digits) != _figure(limit, digits):
            break
    sign = "<" if side == "at least" else ">"
    # The name of a group is what the manifest says of it.
    name = printable(bound["metric"])
    return f"{name} {_figure(value, digits)} {sign} {_figure(limit, digits)}"


def _interval(summary: Summary, name: str) -> str:
    lower, upper = (summary.metrics.get(f"{name}{end}") for end in (LOWER, UPPER))
    if lower is None or upper is None:
        return ""
    defined = not (math.isnan(lower) or math.isnan(upper))
    if defined and not has_spread(lower, upper):
        return "no spread"
    return f"{_figure(lower)} to {_figure(upper)}"


def _metrics_table(summary: Summary) -> Table:
    table = Table(title="Test split", title_justify="left", box=None, pad_edge=False)
    table.add_column("figure")
    for unit in (SLICES, PATIENTS):
        table.add_column(unit, justify="right")
        table.add_column("95 %", justify="right")
    for name in filter(is_plain, summary.metrics):
        cells = []
        for one in (name, name_of(name, PATIENTS)):
            there = one in summary.metrics
            digits = 0 if name in COUNTED else 3
            cells += [_figure(summary.metrics[one], digits) if there else ""]
            cells += [_interval(summary, one)]
        table.add_row(name, *cells)
    return table


def _bounds_table(summary: Summary) -> Table:
    table = Table(title="Gate", title_justify="left", box=None, pad_edge=False)
    table.add_column("bound")
    sides = [_limit(bound)[0] for bound in summary.bounds]
    shown = [side for side in ("at least", "at most") if side in sides]
    for column in ("value", *shown):
        table.add_column(column, justify="right")
    table.add_column("")
    for bound in summary.bounds:
        side, limit = _limit(bound)
        table.add_row(
            # Groups stand in brackets, which are markup to rich.
            Text(printable(bound["metric"])),
            _figure(bound["value"]),
            *(f"{limit:.3f}" if one == side else "" for one in shown),
            "ok" if bound["passed"] else "FAILED",
        )
    return table


def _print_alarm(alarm: dict[str, Any], console: Console) -> None:
    accepted = " (accepted)" if alarm["accepted"] else ""
    style = "yellow" if accepted else "bold yellow"
    advice = "" if accepted else f": {ADVICE}"
    console.print(
        f"Leak alarm{accepted}: {alarm['says']}{advice}", style=style, highlight=False, markup=False
    )
    for reason in [] if accepted else alarm["reasons"]:
        console.print(f"  - {reason}", style="yellow", highlight=False, markup=False)


def _say_pruned(pruned: dict[str, Any]) -> tuple[str, str]:
    """What was removed at the end of a retraining, and the style of the line."""
    if "error" in pruned:
        return f"Pruning stopped: {printable(pruned['error'])}", "yellow"
    gone = [f"{pruned[kind]} {kind}" for kind in ("versions", "artifacts") if pruned.get(kind)]
    if not gone and not pruned["bytes"]:
        return f"{'pruned':9} nothing", ""
    return f"{'pruned':9} {', '.join(gone) or 'old files'} ({decimal(pruned['bytes'])})", ""


def _print_pruned(summary: Summary, console: Console) -> None:
    if summary.pruned:
        line, style = _say_pruned(summary.pruned)
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def print_summary(summary: Summary, console: Console) -> None:
    """Print a run's summary for people."""
    console.print()
    if summary.verdict is Verdict.NOTHING_NEW:
        console.print("Nothing new: this data has been tried already, so nothing was done.")
        # Made up for, where the last retraining did not come to it.
        _print_pruned(summary, console)
        return
    if summary.counts:
        if summary.counts["examples"]:
            console.print(_counts_table(summary))
        quarantined = summary.counts["quarantined"]
        if quarantined:
            reasons = ", ".join(f"{count} {reason}" for reason, count in quarantined.items())
            console.print(f"quarantined: {reasons} (see quarantine.jsonl)", highlight=False)
        console.print()
    if summary.metrics:
        console.print(_metrics_table(summary))
        console.print()
    if summary.bounds:
        console.print(_bounds_table(summary))
        console.print()
    for leak in summary.leaks:
        console.print(
            f"Leak: {printable(leak)}", style="bold yellow", highlight=False, markup=False
        )
    if summary.leak_alarm:
        _print_alarm(summary.leak_alarm, console)
    for line in summary.drift:
        console.print(f"Drift: {printable(line)}", style="yellow", highlight=False, markup=False)
    for line in summary.shortcuts:
        console.print(f"Shortcut: {printable(line)}", style="yellow", highlight=False, markup=False)
    for line in summary.cautions:
        console.print(f"Caution: {printable(line)}", style="yellow", highlight=False, markup=False)
    lines = {"weights": summary.started_from, "report": summary.report, "log": summary.log}
    if summary.verdict is Verdict.PUSHED:
        console.print(f"Pushed version {summary.version}.", style="bold green", highlight=False)
        lines = {
            "model": summary.model,
            "serve it": f"ctnet serve {summary.serving}",
            "ask it": "ctnet predict FILE... --server 127.0.0.1:8500",
            **lines,
        }
    elif summary.verdict is Verdict.NOT_BLESSED:
        failed = ", ".join(_shortfall(bound) for bound in summary.bounds if not bound["passed"])
        # Bounds are not all that a model has to pass.
        failed = (
            failed
            or printable(summary.refused or "")
            or "every bound held, but the evaluation refused it"
        )
        console.print(
            f"Not pushed: {failed}. What was served before stays.",
            style="bold red",
            highlight=False,
            markup=False,
        )
    for name, value in lines.items():
        if value:
            console.print(
                f"{name:9} {printable(value)}", highlight=False, markup=False, soft_wrap=True
            )
    _print_pruned(summary, console)
