"""The command line."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.config import RunConfig, load_config, parse_config
from pipeline.retrain import retrain
from pipeline.run import RunRequest, run
from pipeline.run_log import hushed, output_to
from pipeline.shipped_config import shipped_config
from pipeline.summary import ExitCode, Summary
from pipeline.terminal import RunDisplay, print_summary
from transform.errors import BadDataError, ConfigError, CtnetError
from transform.prediction import MODEL_NAME

app = typer.Typer(
    name="ctnet",
    epilog="Any command takes --debug, which shows tracebacks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
prepare_app = typer.Typer(help="Turn a public data set into a manifest.", no_args_is_help=True)
app.add_typer(prepare_app, name="prepare")
compile_app = typer.Typer(help="Write the pipeline for another orchestrator.", no_args_is_help=True)
app.add_typer(compile_app, name="compile")

_DEBUG = "--debug"
_debug = False

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


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(importlib.metadata.version("ctnet"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and end."),
    ] = False,
) -> None:
    """From chest-CT slices to a gated, served COVID-19 classifier."""


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _print_json(values: object) -> None:
    typer.echo(json.dumps(values, indent=2, ensure_ascii=False))


def _show(summary: Summary, as_json: bool) -> None:
    if as_json:
        typer.echo(summary.to_json())
    else:
        print_summary(summary, Console())
    if summary.error:
        typer.echo(f"ctnet: {summary.error}", err=True)


def _data_of(config: RunConfig, data: Path | None) -> Path:
    if data is None and config.data is None:
        raise ConfigError("no manifest: give --data MANIFEST, or data: in the configuration")
    return data or Path(config.data or "")


def _request(
    config: Path, data: Path | None, workdir: Path | None, settings: list[str] | None
) -> RunRequest:
    checked = load_config(config, settings)
    folder = workdir or Path(checked.workdir or f"work/{checked.name}")
    return RunRequest(checked, _data_of(checked, data), folder)


@app.command("run")
def run_command(
    config: ConfigOption,
    data: DataOption = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the pipeline: ingest, validate, transform, train, gate, push, report.

    Exit codes: 0 pushed, 2 bad usage or configuration, 3 not blessed (what was served before
    stays), 4 bad data, 1 anything else.
    """
    summary = run(_request(config, data, workdir, settings), RunDisplay(), debug=_debug)
    _show(summary, as_json)
    raise typer.Exit(summary.exit_code)


@app.command("retrain")
def retrain_command(
    config: ConfigOption,
    data: DataOption = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run if the manifest or a file that it names has changed since the last run.

    Exit codes: those of `ctnet run`; 0 also where there was nothing new.
    """
    summary = retrain(_request(config, data, workdir, settings), RunDisplay(), debug=_debug)
    _show(summary, as_json)
    raise typer.Exit(summary.exit_code)


@app.command()
def demo(
    workdir: Annotated[Path, typer.Option("--workdir", help="The demo's folder.")] = Path("demo"),
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the main job on synthetic CT: from slices to a served model that answers.

    Exit codes: those of `ctnet run`; 1 also where an answer is wrong.
    """
    from pipeline import demo as demo_parts

    console = Console(stderr=True)
    config = load_config(shipped_config("demo"), settings)
    total = demo_parts.PATIENTS * demo_parts.SLICES
    with _bar() as bar:
        task = bar.add_task("drawing synthetic CT", total=total)
        manifest = demo_parts.make_demo_data(
            workdir / "data", config.seed, lambda done: bar.update(task, completed=done)
        )
    console.print(
        f"synthetic CT: {total} slices of {demo_parts.PATIENTS} patients, half of them with "
        f"{demo_parts.SEVERITY} disease, in {manifest.parent}",
        highlight=False,
        soft_wrap=True,
    )
    summary = run(RunRequest(config, manifest, workdir), RunDisplay(), debug=_debug)
    if summary.exit_code is not ExitCode.PUSHED:
        _show(summary, as_json)
        raise typer.Exit(summary.exit_code)
    answers = demo_parts.ask_about_test_slices(summary, manifest)
    if as_json:
        _print_json(
            {
                **json.loads(summary.to_json()),
                "answers": [
                    {
                        "path": one.path,
                        "label": one.label,
                        "probability": one.probability,
                        "decision": one.decision,
                    }
                    for one in answers
                ],
            }
        )
    else:
        print_summary(summary, Console())
        table = Table(title="Asked over gRPC", title_justify="left", box=None, pad_edge=False)
        for column in ("slice of a test patient", "truth", "probability", "decision"):
            table.add_column(column, overflow="fold")
        words = {1: "positive", 0: "negative"}
        for one in answers:
            table.add_row(one.path, words[one.label], f"{one.probability:.3f}", words[one.decision])
        Console().print("\n", table, sep="")
    if not all(one.right for one in answers):
        typer.echo("ctnet: the served model answered wrongly", err=True)
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="The folder to write; gets manifest.csv.")],
    patients: Annotated[int, typer.Option("--patients", help="How many; half are positive.")] = 20,
    slices: Annotated[int, typer.Option("--slices", help="Of each patient.")] = 8,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = 0,
    severity: Annotated[
        str, typer.Option("--severity", help="mild, moderate or severe disease.")
    ] = "moderate",
    size: Annotated[int, typer.Option("--size", help="Pixels a side.")] = 512,
    as_json: JsonOption = False,
) -> None:
    """Draw synthetic chest CT: DICOM files with true Hounsfield units, and their manifest."""
    with hushed():
        from transform.phantom import write_cohort
    with _bar() as bar:
        task = bar.add_task("drawing synthetic CT", total=max(patients * slices, 0))
        manifest = write_cohort(
            out,
            patients=patients,
            slices=slices,
            seed=seed,
            severity=severity,
            size=size,
            progress=lambda done: bar.update(task, completed=done),
        )
    if as_json:
        _print_json({"manifest": str(manifest), "slices": patients * slices})
    else:
        typer.echo(f"{patients * slices} slices of {patients} patients; manifest: {manifest}")


@prepare_app.command("covid-ct")
def prepare_covid_ct_command(
    root: Annotated[Path, typer.Argument(help="The data set's folder.")],
    out: Annotated[Path, typer.Option("--out", help="The manifest to write.")],
    as_json: JsonOption = False,
) -> None:
    """Write a manifest of the public COVID-CT data set under its official split."""
    from pipeline.datasets.covid_ct import prepare_covid_ct

    prepared = prepare_covid_ct(root, out)
    if as_json:
        _print_json(
            {
                "manifest": str(prepared.manifest),
                "rows": prepared.rows,
                "splits": prepared.by_split_and_label,
                "patients": prepared.patients,
                "notes": prepared.notes,
            }
        )
        return
    for note in prepared.notes:
        typer.echo(f"note: {note}", err=True)
    table = Table(box=None, pad_edge=False)
    for column in ("split", "positive", "negative"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, by_label in prepared.by_split_and_label.items():
        table.add_row(split, str(by_label["positive"]), str(by_label["negative"]))
    table.add_row(
        "patients", str(prepared.patients["positive"]), str(prepared.patients["negative"])
    )
    Console().print(table)
    typer.echo(f"{prepared.rows} slices; manifest: {prepared.manifest}")


@app.command("inspect")
def inspect_command(
    data: Annotated[
        Path, typer.Argument(help="A manifest, a folder of spans, or a folder of files.")
    ],
    config: Annotated[
        Path | None, typer.Option("--config", help="A run's configuration, for its ingest keys.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Gets index.html and the findings.")] = Path(
        "inspection"
    ),
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a run would make of the data, before any training.

    Counts, what cannot be used and why, near-identical slices, conflicting labels, leaks between
    splits, and features of the files that give the label away.

    Exit codes: 0 whatever is found, 4 nothing to inspect.
    """
    checked = load_config(config, settings) if config else parse_config({}, settings)
    with output_to(os.devnull) as (_, err), Console(file=err).status("reading all slices"):
        from pipeline.inspect import inspect
        from pipeline.inspection import gather, print_inspection, to_json, write_page

        inspected = inspect(data, checked, out)
        findings = gather(
            inspected.findings,
            window=checked.hounsfield.window,
            base=inspected.base,
            name=str(data),
            root=Path(checked.ingest.root) if checked.ingest.root else None,
            max_quarantined=checked.ingest.max_quarantined,
            on_leak=inspected.on_leak,
            would_stop=inspected.would_stop,
        )
        page = write_page(findings, out)
    if as_json:
        _print_json({**to_json(findings), "would_stop": inspected.would_stop, "page": str(page)})
        return
    print_inspection(findings, Console())
    typer.echo(f"page  {page}")


@app.command()
def serve(
    model_dir: Annotated[Path, typer.Argument(help="A folder of versions: WORKDIR/serving/ctnet.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 takes any free one.")] = 8500,
    model_name: Annotated[str, typer.Option("--model-name")] = MODEL_NAME,
) -> None:
    """Serve the newest version over TF Serving's gRPC protocol, on this machine."""
    from serving.__main__ import main as serve_main

    arguments = [str(model_dir), "--host", host, "--port", str(port), "--model-name", model_name]
    raise typer.Exit(serve_main(arguments))


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(help="PNG, JPEG or DICOM slices.")],
    server: Annotated[str, typer.Option("--server", help="HOST:PORT.")] = "127.0.0.1:8500",
    as_json: JsonOption = False,
) -> None:
    """Ask a server about slices.

    Exit codes: 0 all predicted, 1 a file could not be predicted (the others are).
    """
    with hushed():
        from serving.client import Client, FileResult
    results: list[FileResult] = []
    broken: CtnetError | None = None
    with Client(server) as client, _bar() as bar:
        try:
            results.extend(
                bar.track(client.predict_files(files), total=len(files), description="predicting")
            )
        # What was answered before the server went away is still worth having.
        except CtnetError as error:
            broken = error
    if broken and not results:
        raise broken
    if as_json:
        _print_json(
            [
                {
                    "path": str(one.path),
                    "probability": one.prediction.probability if one.prediction else None,
                    "decision": one.prediction.decision if one.prediction else None,
                    "threshold": one.prediction.threshold if one.prediction else None,
                    "error": one.error,
                }
                for one in results
            ]
        )
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("file", "probability", "decision", "threshold"):
            table.add_column(column, overflow="fold")
        for one in results:
            if one.prediction:
                table.add_row(
                    str(one.path),
                    f"{one.prediction.probability:.4f}",
                    "positive" if one.prediction.decision else "negative",
                    f"{one.prediction.threshold:.4f}",
                )
        if table.row_count:
            Console().print(table)
    failed = [one for one in results if one.error]
    for one in failed:
        typer.echo(f"ctnet: {one.error}", err=True)
    if broken:
        raise broken
    if failed:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def skew(
    workdir: Annotated[Path, typer.Argument(help="The folder of the run that trained the model.")],
    requests: Annotated[
        list[Path],
        typer.Argument(
            help="What was asked: slices, folders, or TFRecord files of CT examples or of "
            "TensorFlow Serving's request log."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Compare what a model is asked about with what it was trained on.

    Exit codes: 0 they look alike, 3 they do not, 4 nothing could be compared.
    """
    with hushed():
        from pipeline.serving_skew import check_serving_skew

        result = check_serving_skew(workdir, requests)
    if as_json:
        _print_json(dataclasses.asdict(result))
    else:
        compared = ", ".join(f"{count} {name}" for name, count in result.counts.items())
        typer.echo(f"compared with {result.model} ({compared})")
        for line in result.lines:
            typer.echo(line)
        if not result.lines:
            typer.echo("requests look like the training data")
    raise typer.Exit(ExitCode.NOT_BLESSED if result.lines else ExitCode.PUSHED)


@app.command()
def report(
    workdir: Annotated[Path, typer.Argument(help="A run's folder.")],
    as_json: JsonOption = False,
) -> None:
    """Rebuild the report of the latest run that came to its end, and print where it is."""
    with hushed():
        from pipeline.rebuild_report import rebuild_report

        page = rebuild_report(workdir)
    if as_json:
        _print_json({"report": str(page)})
    else:
        typer.echo(str(page))


@compile_app.command("kubeflow")
def compile_kubeflow(
    config: ConfigOption,
    image: Annotated[str, typer.Option("--image", help="The image that every step runs.")],
    output: Annotated[Path, typer.Option("--output", help="YAML for KFP, JSON for Vertex AI.")],
    root: Annotated[
        str, typer.Option("--root", help="Where artifacts go: a folder that every step mounts.")
    ] = "/mnt/ctnet",
    data: Annotated[
        str | None, typer.Option("--data", help="The manifest, as the steps see it.")
    ] = None,
    settings: SetOption = None,
) -> None:
    """Write the Kubeflow Pipelines v2 definition of the same pipeline."""
    checked = load_config(config, settings)
    manifest = data or checked.data
    if manifest is None:
        raise ConfigError("no manifest: give --data MANIFEST, or data: in the configuration")
    with hushed():
        from pipeline.kubeflow import compile_for_kubeflow

        compile_for_kubeflow(checked, manifest=manifest, root=root, image=image, output=output)
    typer.echo(f"pipeline {checked.name} for image {image}: {output}")


def _exit_code_of(error: CtnetError) -> ExitCode:
    if isinstance(error, ConfigError):
        return ExitCode.USAGE
    return ExitCode.BAD_DATA if isinstance(error, BadDataError) else ExitCode.FAILED


def main() -> None:
    """Run the command line; errors that a user can cause end in one line."""
    global _debug
    _debug = _DEBUG in sys.argv[1:]
    try:
        app([argument for argument in sys.argv[1:] if argument != _DEBUG])
    except CtnetError as error:
        if _debug:
            raise
        typer.echo(f"ctnet: {error}", err=True)
        sys.exit(_exit_code_of(error))
    except Exception as error:
        if _debug:
            raise
        line = " ".join(f"{type(error).__name__}: {error}".split())
        typer.echo(f"ctnet: unexpected {line}; --debug shows the traceback", err=True)
        sys.exit(ExitCode.FAILED)


if __name__ == "__main__":
    main()
