"""`ctnet submit`: the options of a run on Kubeflow Pipelines, and what comes of it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.run_folder.run_log import hushed
from pipeline.run_options import JsonOption
from transform.errors import ConfigError


def submit(
    definition: Annotated[Path, typer.Argument(help="What ctnet compile kubeflow wrote (YAML).")],
    host: Annotated[str, typer.Option("--host", metavar="URL", help="Of Kubeflow Pipelines.")],
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="Runs are listed under it; else the name.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the pipeline there; else the definition's.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="KEY=VALUE", help="Of the run; may be repeated."),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option("--cron", help="Run again and again, as in '30 2 * * 1-5'; times are UTC."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Holds the bearer token.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", help="Yours, where several users share Kubeflow.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has ended.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a compiled pipeline on Kubeflow Pipelines, once or by the clock.

    The definition is uploaded where that version of it is not there yet. A recurring run takes the
    place of the one of the same name.

    Exit codes: 0 submitted (with --wait: succeeded), 2 bad usage, 1 anything else.
    """
    from pipeline.submission import submit as endpoint_work
    from pipeline.submission.cron import kubeflow_cron
    from pipeline.submission.definition import read_definition, read_parameters

    if cron is not None and wait:
        raise ConfigError("--cron and --wait: a recurring run has no end to wait for")
    compiled = read_definition(definition)
    submission = endpoint_work.Submission(
        definition=compiled,
        name=name or compiled.name,
        experiment=experiment or name or compiled.name,
        parameters=read_parameters(compiled, parameter or []),
        cron=None if cron is None else kubeflow_cron(cron),
    )
    token = None if token_file is None else endpoint_work.read_token(token_file)
    endpoint = endpoint_work.Endpoint(host, token, namespace)
    # kfp prints addresses of its own, and warns.
    with hushed(), contextlib.redirect_stdout(io.StringIO()):
        client = endpoint_work.connect(endpoint)
        result = endpoint_work.submit(client, endpoint, submission)
    if wait and result.run_id is not None:
        typer.echo(f"waits for {result.url}", err=True)
        result.state = endpoint_work.wait(client, endpoint, result.run_id)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result), indent=2))
    else:
        typer.echo(f"version  {result.version}{'' if result.uploaded else ' (was there already)'}")
        if submission.cron:
            typer.echo(f"cron     {submission.cron} (UTC)")
        if result.replaced:
            typer.echo(f"in place of {', '.join(result.replaced)}")
        if result.state:
            typer.echo(f"state    {result.state}")
        typer.echo(f"see      {result.url}")
    if result.state not in (None, endpoint_work.SUCCEEDED):
        raise typer.Exit(1)
