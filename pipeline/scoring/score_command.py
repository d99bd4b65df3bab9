"""`ctnet score`: its options, its progress and what it prints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console
from rich.progress import TimeElapsedColumn
from rich.table import Table

from pipeline.config import load_config, parse_config
from pipeline.run_folder.run_log import output_to
from pipeline.run_options import JsonOption, SetOption
from pipeline.slice_bar import SliceBar
from pipeline.summary import ExitCode

if TYPE_CHECKING:
    from pipeline.scoring.bulk_scoring import ScoreSummary


class _ScoringBar(SliceBar):
    """How many slices are scored, on a terminal; a context manager."""

    def __init__(self, stream: TextIO):
        # A volume's slices are known when it is read, so that there is no total.
        super().__init__("scoring", TimeElapsedColumn(), Console(file=stream), total=None)

    def scored(self, slices: int) -> None:
        """So many slices were scored until now."""
        self._progress.update(self._task, completed=slices)


def _print_summary(summary: ScoreSummary, console: Console) -> None:
    per_second = summary.slices / summary.seconds if summary.seconds else 0.0
    reasons = ", ".join(f"{count} {reason}" for reason, count in summary.quarantined.items())
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, text in (
        ("model", summary.model if summary.blessed else f"{summary.model} (not blessed)"),
        ("slices", f"{summary.slices}, {summary.positive} positive"),
        ("patients", f"{summary.patients}, {summary.positive_patients} positive"),
        (
            "quarantined",
            f"{summary.total_quarantined} ({reasons}), {summary.quarantine}" if reasons else "none",
        ),
        ("time", f"{summary.seconds:.1f} s, {per_second:.1f} slices a second"),
        ("results", ", ".join(summary.results)),
        ("", ", ".join(summary.patient_results)),
    ):
        table.add_row(name, text)
    console.print(table)


def score(
    data: Annotated[
        Path,
        typer.Option(
            "--data", help="A manifest (path,patient_id), a folder of spans, or a folder of files."
        ),
    ],
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            help="A pushed version, a folder of versions (the newest), or a run's folder.",
        ),
    ],
    out: Annotated[
        list[Path],
        typer.Option("--out", metavar="FILE", help="FILE.csv or FILE.parquet; may be repeated."),
    ],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A run's configuration, for its ingest and beam keys."),
    ] = None,
    settings: SetOption = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Slices that the model computes together.")
    ] = 16,
    keep_patient_ids: Annotated[
        bool, typer.Option("--keep-patient-ids", help="Write patient ids, not their hashes.")
    ] = False,
    unblessed: Annotated[
        bool, typer.Option("--unblessed", help="Take a model that no gate let pass, too.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that are there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score many slices with a model's files, without a server: a Beam job.

    Writes a row a slice to FILE, a row a patient to FILE's name with .patients, and what could not
    be scored to one with .quarantine.jsonl.

    Exit codes: 0 scored, 2 bad usage, a model that cannot be used or is not blessed, 4 nothing
    could be scored, or more is quarantined than ingest.max_quarantined allows (the rest is scored),
    1 anything else.
    """
    checked = load_config(config, settings) if config else parse_config({}, settings)
    with output_to(os.devnull) as (_, err), _ScoringBar(err) as bar:
        from pipeline.scoring.bulk_scoring import ScoreRequest, summary_line
        from pipeline.scoring.bulk_scoring import score as score_all

        request = ScoreRequest(
            data=data,
            model=model,
            out=out,
            config=checked,
            batch_size=batch_size,
            keep_patient_ids=keep_patient_ids,
            unblessed=unblessed,
            overwrite=overwrite,
        )
        summary = score_all(request, bar)
    if as_json:
        typer.echo(json.dumps(summary.to_json(), indent=2, ensure_ascii=False))
    else:
        _print_summary(summary, Console())
    if summary.too_many_quarantined:
        typer.echo(f"ctnet: {summary_line(summary)}", err=True)
        raise typer.Exit(ExitCode.BAD_DATA)
