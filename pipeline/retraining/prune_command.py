"""`ctnet prune`: its options, and what it prints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from pipeline.config import RetrainConfig
from pipeline.run_folder.run_log import hushed
from pipeline.run_options import JsonOption, WaitOption
from transform.printable import printable

if TYPE_CHECKING:
    from pipeline.retraining.prune import Pruned

_DEFAULTS = RetrainConfig()


def _print(pruned: Pruned, workdir: Path, console: Console) -> None:
    if pruned.removed:
        title = "Would be removed" if pruned.dry_run else "Removed"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        table.add_column("what")
        table.add_column("where", overflow="fold")
        table.add_column("size", justify="right")
        for one in pruned.removed:
            where = Path(one.path).relative_to(workdir.resolve())
            table.add_row(one.kind, Text(printable(str(where))), decimal(one.bytes))
        console.print(table)
        total = decimal(sum(one.bytes for one in pruned.removed))
        console.print(f"{len(pruned.removed)} in all, {total}", highlight=False)
    else:
        console.print("Nothing to remove.")
    for path in pruned.skipped:
        console.print(
            f"left alone: {printable(path)} is, or lies behind, a symbolic link",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    versions = ", ".join(pruned.kept_versions) or "none"
    console.print(
        f"Kept: versions {versions}; all of the last {len(pruned.kept_runs)} runs.",
        highlight=False,
        soft_wrap=True,
    )


def prune(
    workdir: Annotated[Path, typer.Argument(help="A run's folder.")],
    keep_versions: Annotated[
        int, typer.Option("--keep-versions", min=1, help="Of the serving folder, the newest.")
    ] = _DEFAULTS.keep_versions,
    keep_runs: Annotated[
        int, typer.Option("--keep-runs", min=1, help="The last that came to their end.")
    ] = _DEFAULTS.keep_runs,
    keep: Annotated[
        list[int] | None,
        typer.Option(
            "--keep",
            min=1,
            metavar="VERSION",
            help="A version that stays however old, such as one that a server is pinned to; may "
            "be given several times.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Remove old versions and what old runs left, but nothing that is served or needed again.

    Exit codes: 0 pruned, 2 no run has begun there, or one is at work.
    """
    with hushed():
        from pipeline.retraining.prune import Policy
        from pipeline.retraining.prune import prune as prune_folder
    pruned = prune_folder(
        workdir,
        Policy(keep_versions, keep_runs, frozenset(keep or ())),
        dry_run=dry_run,
        wait=60.0 * wait,
        tell=lambda line: typer.echo(f"ctnet: {line}", err=True),
    )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(pruned), indent=2))
    else:
        _print(pruned, workdir, Console())
