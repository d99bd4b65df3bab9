"""What a person sees of an inspection in the terminal: the verdict and a few compact tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.inspection.findings import Findings, Tally
from pipeline.inspection.verdict import reach_verdict
from pipeline.inspection.wording import count, share, short_patient
from transform.printable import printable

_LINES = 6


def _table(title: str, *columns: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _text(text: str) -> Text:
    """Text that Rich does not read as markup."""
    return Text(printable(text))


def _splits(findings: Findings) -> Table:
    classes = findings.classes
    table = _table("Slices (patients)", "split", *classes)
    for split, by_class in findings.accepted.items():
        patients = findings.patients[split]
        cells = [
            f"{by_class[one]:,} ({patients[one]:,})" if by_class[one] else "0" for one in classes
        ]
        table.add_row(_text(split or "none given"), *cells)
    return table


def _tally(findings: Findings, title: str, tally: Tally) -> Table:
    table = _table(title, title.lower(), *findings.classes)
    for number, (value, by_class) in enumerate(tally.items()):
        if number == _LINES and len(tally) > _LINES + 1:
            table.add_row(f"and {len(tally) - _LINES:,} more")
            break
        table.add_row(
            _text(value) if value else "none", *(f"{by_class[one]:,}" for one in findings.classes)
        )
    return table


def _quarantine(findings: Findings) -> Table:
    table = _table("Quarantine", "reason", "slices", "share", "for example")
    table.columns[-1].justify = "left"
    for reason, amount in findings.quarantined.items():
        example = findings.quarantine_shown[reason][0].path
        table.add_row(_text(reason), f"{amount:,}", share(amount, findings.total), _text(example))
    return table


def _groups(findings: Findings) -> Table:
    table = _table("Near-identical slices", "", "groups", "slices")
    table.add_row("one label", f"{findings.duplicate_groups:,}", f"{findings.duplicate_slices:,}")
    table.add_row(
        "two labels (conflict)", f"{findings.conflict_groups:,}", f"{findings.conflict_slices:,}"
    )
    if findings.crossing_groups:
        table.add_row("in several splits", f"{findings.crossing_groups:,}", "")
    return table


def _leaks(findings: Findings) -> Table:
    table = _table("Leaks across splits", "patients", "slices")
    for one in findings.leaks_shown[:_LINES]:
        said = ", ".join(f"{amount:,} {split}" for split, amount in one.slices.items())
        table.add_row(_text(", ".join(map(short_patient, one.patients))), _text(said))
    if (more := sum(findings.leaks.values()) - _LINES) > 0:
        table.add_row(f"and {more:,} more")
    return table


def _confounds(findings: Findings) -> Table:
    title = "What the file alone predicts, on held-out patients"
    table = _table(title, "feature", "AUC", "95 % interval", "")
    table.columns[-1].justify = "left"
    for one in findings.confounds:
        if one.auc is None:
            table.add_row(one.title, "", "", one.note)
            continue
        table.add_row(
            one.title,
            f"{one.auc:.2f}",
            f"{one.low:.2f}–{one.high:.2f}",
            Text(printable(one.note)),
            style="yellow" if one.suspicious else None,
        )
    return table


def print_inspection(findings: Findings, console: Console) -> None:
    """Print an inspection for people."""

    def say(line: str, style: str = "") -> None:
        console.print(Text(line, style=style), soft_wrap=True)

    verdict = reach_verdict(findings)
    say(printable(verdict.headline), "bold red" if verdict.stops else "bold green")
    for sentence in verdict.stops:
        say(f"Stops a run: {sentence}", "red")
    tables = []
    if findings.total_accepted:
        tables += [
            _splits(findings),
            *(
                _tally(findings, name.capitalize(), findings.tallies[name])
                for name in ("format", "mode", "size", "source")
            ),
        ]
    if findings.quarantined:
        tables.append(_quarantine(findings))
    if findings.duplicate_groups or findings.conflict_groups:
        tables.append(_groups(findings))
    if findings.leaks:
        tables.append(_leaks(findings))
    if findings.confounds:
        tables.append(_confounds(findings))
    for table in tables:
        console.print()
        console.print(table)
    if verdict.warnings:
        console.print()
    for sentence in verdict.warnings:
        say(f"Warning: {sentence}", "yellow")
    if findings.all_patients:
        console.print()
        slices = count(findings.total_accepted, "slice")
        say(f"{slices} of {count(findings.all_patients, 'patient')} can be used.")
