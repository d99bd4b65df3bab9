"""`ctnet rollback`: its options, and what it prints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.run_folder.run_log import hushed
from pipeline.run_options import JsonOption, WaitOption

if TYPE_CHECKING:
    from pipeline.retraining.rollback import ServedVersion


def _say(version: ServedVersion) -> str:
    if version.run is None:
        return f"version {version.version}, which no run here pushed"
    first = "" if version.first == version.version else f", first pushed as {version.first}"
    return f"version {version.version}, the model of run {version.run}{first}"


def rollback(
    workdir: Annotated[Path, typer.Argument(help="A run's folder.")],
    version: Annotated[
        int | None,
        typer.Argument(
            help="A number that the model had when it was served; default: the model before the "
            "one that is served now."
        ),
    ] = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Serve an earlier version again, under a new number, and compare later models with it.

    Exit codes: 0 it is served, 2 there is nothing to go back to, or another run is at work.
    """
    with hushed():
        from pipeline.retraining.rollback import roll_back
    result = roll_back(
        workdir, version, wait=60.0 * wait, tell=lambda line: typer.echo(f"ctnet: {line}", err=True)
    )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result), indent=2))
    elif result.was is None:
        typer.echo(f"Served already: {_say(result.served)}.")
    else:
        typer.echo(f"Served now: {_say(result.served)}.")
        typer.echo(f"Served before: {_say(result.was)}.")
