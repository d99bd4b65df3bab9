"""What commands have in common: options, the request for a run, and how a run ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.config import RunConfig, load_config
from pipeline.run import RunRequest
from pipeline.summary import Summary
from pipeline.terminal import print_summary
from transform.errors import ConfigError

DEBUG = "--debug"
"""Any command takes it."""

ConfigOption = Annotated[Path, typer.Option("--config", help="The run's configuration (YAML).")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="The manifest, or a folder of spans; overrides the config's data."),
]
WorkdirOption = Annotated[
    Path | None, typer.Option("--workdir", help="The run's folder; overrides the config's workdir.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; may be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print data for programs.")]
WaitOption = Annotated[
    float,
    typer.Option("--wait", min=0.0, metavar="MINUTES", help="For a run that is at work there."),
]
AcceptLeakAlarmOption = Annotated[
    bool,
    typer.Option(
        "--accept-leak-alarm",
        help="Let a model pass that is too good to be true; after looking for a leak.",
    ),
]


def wants_debug() -> bool:
    """Whether this process was asked for tracebacks."""
    return DEBUG in sys.argv[1:]


def _data_of(config: RunConfig, data: Path | None) -> Path:
    if data is None and config.data is None:
        raise ConfigError("no manifest: give --data MANIFEST, or data: in the configuration")
    return data or Path(config.data or "")


def run_request(
    config: Path,
    data: Path | None,
    workdir: Path | None,
    settings: list[str] | None,
    accept_leak_alarm: bool,
) -> RunRequest:
    """What the options ask for.

    Raises:
      ConfigError: the configuration cannot be used, or nothing names the data.
    """
    checked = load_config(config, settings)
    folder = workdir or Path(checked.workdir or f"work/{checked.name}")
    return RunRequest(checked, _data_of(checked, data), folder, accept_leak_alarm)


def show_summary(summary: Summary, as_json: bool) -> None:
    """Print a summary, for people or programs, and its error on standard error."""
    if as_json:
        typer.echo(summary.to_json())
    else:
        print_summary(summary, Console())
    if summary.error:
        typer.echo(f"ctnet: {summary.error}", err=True)
