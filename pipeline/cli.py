"""The command line."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.config import RunConfig, load_config, parse_config
from pipeline.kubeflow.compile_command import compile_kubeflow
from pipeline.prediction.output import JSON, OutputFormat
from pipeline.prediction.progress_bar import PredictionBar
from pipeline.retraining.prune_command import prune
from pipeline.retraining.retrain_command import retrain_command
from pipeline.retraining.rollback_command import rollback
from pipeline.run import RunRequest, run
from pipeline.run_folder.full_disk import describe_full_disk, places_in
from pipeline.run_folder.run_log import hushed, output_to
from pipeline.run_options import (
    DEBUG,
    AcceptLeakAlarmOption,
    ConfigOption,
    DataOption,
    JsonOption,
    SetOption,
    WorkdirOption,
    run_request,
    show_summary,
    wants_debug,
)
from pipeline.runners.termination import Terminated, raising_on_sigterm
from pipeline.scoring.score_command import score
from pipeline.shipped_config import shipped_config
from pipeline.submission.submit_command import submit
from pipeline.summary import ExitCode
from pipeline.terminal import RunDisplay, print_summary
from pipeline.training_workers.train_worker_command import train_worker
from serving.serve_command import serve
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

_DEFAULTS = RunConfig()


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


@app.command("run")
def run_command(
    config: ConfigOption,
    data: DataOption = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    accept_leak_alarm: AcceptLeakAlarmOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the pipeline: ingest, validate, transform, train, gate, push, report.

    Exit codes: 0 pushed, 2 bad usage or configuration, 3 not blessed (what was served before
    stays), 4 bad data, 1 anything else.
    """
    request = run_request(config, data, workdir, settings, accept_leak_alarm)
    summary = run(request, RunDisplay(), debug=wants_debug())
    show_summary(summary, as_json)
    raise typer.Exit(summary.exit_code)


app.command("retrain")(retrain_command)
app.command()(rollback)
app.command()(prune)


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
    summary = run(RunRequest(config, manifest, workdir), RunDisplay(), debug=wants_debug())
    if summary.exit_code is not ExitCode.PUSHED:
        show_summary(summary, as_json)
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
            # The whole path, which --json has, would break the table in two.
            patient_and_slice = "/".join(Path(one.path).parts[-2:])
            table.add_row(
                patient_and_slice,
                words[one.label],
                f"{one.probability:.3f}",
                words[one.decision],
            )
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
        from pipeline.inspection import gather, print_inspection, to_json, write_page
        from pipeline.inspection.inspect import inspect

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


app.command()(serve)
app.command()(submit)
app.command()(train_worker)
app.command()(score)


@app.command()
def predict(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|FOLDER|VOLUME...",
            help="PNG, JPEG, DICOM or NIfTI; a folder is one series, and so is each in it.",
        ),
    ],
    server: Annotated[str, typer.Option("--server", help="HOST:PORT.")] = "127.0.0.1:8500",
    output_format: Annotated[
        OutputFormat, typer.Option("--format", help="jsonl and csv are written as answers come.")
    ] = OutputFormat.TABLE,
    patients: Annotated[
        bool,
        typer.Option(
            "--patients",
            help="Each patient's mean too: below a table of slices, else instead of the slices.",
        ),
    ] = False,
    slices: Annotated[
        str, typer.Option("--slices", help="Of a series or volume: all, every:N or middle:N.")
    ] = "all",
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds a request may take, retries included.")
    ] = 60.0,
    retries: Annotated[
        int, typer.Option("--retries", min=0, max=4, help="Of a request that found no server.")
    ] = 4,
    tls: Annotated[
        bool, typer.Option("--tls", help="Encrypt, and trust public authorities.")
    ] = False,
    tls_ca: Annotated[
        Path | None, typer.Option("--tls-ca", help="Encrypt, and trust these (PEM) instead.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="This client's certificate (PEM).")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", help="The certificate's private key (PEM).")
    ] = None,
    model_name: Annotated[str, typer.Option("--model-name")] = MODEL_NAME,
    version: Annotated[
        int | None,
        typer.Option("--version", min=0, max=2**63 - 1, help="Ask this version, by its number."),
    ] = None,
    version_label: Annotated[
        str | None,
        typer.Option("--version-label", help="Ask the version that the server labels so."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="The most slices a request.")
    ] = 16,
    explain: Annotated[
        Path | None,
        typer.Option("--explain", metavar="OUT", help="Write an overlay of each slice into OUT."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the results there.")
    ] = None,
    keep_patient_ids: Annotated[
        bool,
        typer.Option("--keep-patient-ids", help="Write DICOM patient ids, not their hashes."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask a server about slices.

    Exit codes: 0 all predicted, 1 a slice could not be predicted (the others are), or the server
    did not answer, 2 bad usage.
    """
    if as_json and output_format is not OutputFormat.TABLE:
        raise ConfigError("--json is a format of its own; leave --format out")
    if version is not None and version_label is not None:
        raise ConfigError("--version and --version-label both name the version; leave one out")
    # NaN, too.
    if not 0 < timeout < math.inf:
        raise ConfigError(f"--timeout {timeout:g}: give a positive number of seconds")
    with hushed():
        from pipeline.prediction.predict import PredictRequest, predict
        from serving.client_tls import Tls
        from transform.reading import parse_slice_pick
    try:
        pick = parse_slice_pick(slices)
    except ValueError as error:
        raise ConfigError(f"--slices {error}") from None
    encrypt = tls or any((tls_ca, tls_cert, tls_key))
    request = PredictRequest(
        inputs=files,
        server=server,
        model_name=model_name,
        version=version,
        version_label=version_label,
        slices=pick,
        batch_size=batch_size,
        timeout=timeout,
        retries=retries,
        tls=Tls(tls_ca, tls_cert, tls_key) if encrypt else None,
        form=JSON if as_json else output_format,
        patients=patients,
        keep_patient_ids=keep_patient_ids,
        explain=explain,
        output=output,
    )
    streams = output is None and not as_json and output_format is not OutputFormat.TABLE
    hidden = streams and sys.stdout.isatty()
    with PredictionBar(len(files), hidden=hidden) as bar:
        whole = predict(request, bar)
    if not whole:
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


@app.command()
def history(
    workdir: Annotated[Path, typer.Argument(help="A run's folder.")],
    last: Annotated[
        int | None, typer.Option("--last", min=1, metavar="N", help="Only the last N runs.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs of a folder: data, figures, verdict, version, and what each began with.

    Exit codes: 0 listed, 2 no run has begun there.
    """
    with hushed():
        from pipeline.history.run_history import read_history
        from pipeline.history.terminal import print_history

        found = read_history(workdir)
        if last is not None:
            found = found.last(last)
    if as_json:
        _print_json(found.as_json())
    else:
        print_history(found, Console())


@app.command()
def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="The baseline: a run's folder (its latest evaluated run), WORKDIR@RUN, a pushed "
            "version's folder, or an evaluation's folder.",
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The candidate, likewise.")],
    resamples: Annotated[
        int, typer.Option("--resamples", min=1, help="Of the patients, for the intervals.")
    ] = _DEFAULTS.evaluate.resamples,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the resamples.")] = _DEFAULTS.seed,
    as_json: JsonOption = False,
) -> None:
    """Compare two models on the same test slices, paired; differences are B - A.

    Exit codes: 0 compared, 2 one is not there, or they were asked about different slices.
    """
    with hushed():
        from pipeline.comparison.compare import compare_models
        from pipeline.comparison.conclusion import conclude
        from pipeline.comparison.terminal import print_comparison

        compared = compare_models(a, b, resamples, seed)
    if as_json:
        _print_json({**compared.as_json(), "conclusion": conclude(compared)})
    else:
        print_comparison(compared, Console())


compile_app.command("kubeflow")(compile_kubeflow)


def _exit_code_of(error: CtnetError) -> ExitCode:
    if isinstance(error, ConfigError):
        return ExitCode.USAGE
    return ExitCode.BAD_DATA if isinstance(error, BadDataError) else ExitCode.FAILED


def main() -> None:
    """Run the command line; errors that a user can cause end in one line."""
    try:
        with raising_on_sigterm():
            app([argument for argument in sys.argv[1:] if argument != DEBUG])
    except Terminated:
        # Beam adds words of its own to what passes through it.
        typer.echo("ctnet: ended by SIGTERM", err=True)
        sys.exit(Terminated.exit_code)
    except CtnetError as error:
        if wants_debug():
            raise
        typer.echo(f"ctnet: {error}", err=True)
        sys.exit(_exit_code_of(error))
    except Exception as error:
        if wants_debug():
            raise
        line = describe_full_disk(error, places_in(sys.argv[1:]))
        if line is None:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            line = f"unexpected {text}; --debug shows the traceback"
        typer.echo(f"ctnet: {line}", err=True)
        sys.exit(ExitCode.FAILED)


if __name__ == "__main__":
    main()
