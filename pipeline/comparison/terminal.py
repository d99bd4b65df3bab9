"""What a person sees of a comparison of two models."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from components.run_facts.numbers import has_spread, p_value
from components.slice_evaluator.figure_names import PATIENTS, SLICES
from components.slice_evaluator.figures import SENSITIVITY, SPECIFICITY
from components.slice_evaluator.paired_comparison import Difference, PairedComparison
from pipeline.comparison.choice import ChosenModel
from pipeline.comparison.compare import ModelComparison
from pipeline.comparison.conclusion import conclude
from transform.printable import printable

_NO_SPREAD = "no spread"


def _number(value: float, sign: str = "") -> str:
    return "undefined" if math.isnan(value) else f"{value:{sign}.3f}"


def _interval(lower: float, upper: float) -> str:
    if math.isnan(lower):
        return ""
    return f"{lower:+.3f} to {upper:+.3f}" if has_spread(lower, upper) else _NO_SPREAD


def _lacks_spread(found: PairedComparison) -> bool:
    figures = found.auc, found.sensitivity, found.specificity, found.delong
    return any(_interval(one.lower, one.upper) == _NO_SPREAD for one in figures)


def _difference(figure: Difference) -> list[str]:
    return [
        _number(figure.baseline),
        _number(figure.candidate),
        _number(figure.difference, "+"),
        _interval(figure.lower, figure.upper),
    ]


def _table(title: str, found: PairedComparison) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for heading in ("A", "B", "B - A", "95 %", "p"):
        table.add_column(heading, justify="right")
    table.add_row("AUC", *_difference(found.auc))
    delong = found.delong
    table.add_row(
        "  DeLong's test",
        "",
        "",
        _number(delong.difference, "+"),
        _interval(delong.lower, delong.upper),
        p_value(delong.p_value),
    )
    table.add_row(SENSITIVITY, *_difference(found.sensitivity))
    table.add_row(SPECIFICITY, *_difference(found.specificity))
    mcnemar = found.mcnemar
    table.add_row(
        "right alone (McNemar)",
        str(mcnemar.only_baseline_right),
        str(mcnemar.only_candidate_right),
        f"{mcnemar.only_candidate_right - mcnemar.only_baseline_right:+d}",
        "",
        p_value(mcnemar.p_value),
    )
    return table


def _model(letter: str, role: str, model: ChosenModel, threshold: float) -> str:
    details = [
        *([f"run {model.run}"] if model.run else []),
        *([f"version {model.version}"] if model.version else []),
        f"operating point {threshold:.3f}",
    ]
    return f"{letter}  {role}  {printable(model.said)} ({', '.join(details)})"


def print_comparison(comparison: ModelComparison, console: Console) -> None:
    """Print a comparison for people."""
    models = [
        _model("A", "baseline ", comparison.a, comparison.thresholds[0]),
        _model("B", "candidate", comparison.b, comparison.thresholds[1]),
    ]
    for line in models:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print("Differences are B - A.")
    units = (
        (f"{comparison.patients.rows} {PATIENTS}", comparison.patients),
        (f"{comparison.slices.rows} {SLICES}", comparison.slices),
    )
    for title, found in units:
        console.print()
        console.print(_table(title, found))
    if any(_lacks_spread(found) for _, found in units):
        console.print(f"{_NO_SPREAD}: all resamples gave this value, which is no certainty")
    console.print(
        "Believe p of patients: a patient's slices are alike, so that p of slices is too small.",
        highlight=False,
    )
    console.print()
    console.print(conclude(comparison), markup=False, highlight=False)
