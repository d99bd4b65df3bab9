"""`ctnet retrain`: its options."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.retraining.retrain import retrain
from pipeline.run_options import (
    AcceptLeakAlarmOption,
    ConfigOption,
    DataOption,
    JsonOption,
    SetOption,
    WaitOption,
    WorkdirOption,
    run_request,
    show_summary,
    wants_debug,
)
from pipeline.terminal import RunDisplay


def retrain_command(
    config: ConfigOption,
    data: DataOption = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    accept_leak_alarm: AcceptLeakAlarmOption = False,
    accept_drift: Annotated[
        bool,
        typer.Option(
            "--accept-drift", help="Go on although the data has drifted; after looking at why."
        ),
    ] = False,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """For schedulers: run if there is new data, then remove what the policy does not keep.

    Exit codes: 0 pushed, or nothing new; 2 bad usage or configuration, or another run is at work;
    3 not blessed (what was served before stays), 4 bad data or drift, 1 anything else.
    """
    summary = retrain(
        run_request(config, data, workdir, settings, accept_leak_alarm),
        RunDisplay(),
        accept_drift=accept_drift,
        wait=60.0 * wait,
        tell=lambda line: typer.echo(f"ctnet: {line}", err=True),
        debug=wants_debug(),
    )
    show_summary(summary, as_json)
    raise typer.Exit(summary.exit_code)
