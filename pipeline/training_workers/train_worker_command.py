"""`ctnet train-worker`: the options of one worker of a training on several machines."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.config import load_config
from pipeline.run_options import JsonOption, SetOption
from transform.errors import ConfigError

if TYPE_CHECKING:
    from trainer.progress import TrainingProgress


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _tell_progress(progress: TrainingProgress) -> None:
    """A line an epoch: what this writes is read in the log of a machine that nobody sits at."""
    where = f"{progress.phase} epoch {progress.epoch} of {progress.epochs}"
    if progress.resumed:
        _tell(f"goes on from a checkpoint: {where} is next")
    elif progress.finished:
        figures = (f"{name} {value:.4g}" for name, value in progress.metrics.items())
        _tell(f"{where}: {', '.join(figures)}")


def train_worker(
    config: Annotated[
        Path, typer.Option("--config", help="The configuration that the examples were made with.")
    ],
    workdir: Annotated[
        Path | None,
        typer.Option("--workdir", help="A run's folder: takes what its newest Transform left."),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option("--examples", help="Transformed examples: has Split-train and Split-eval."),
    ] = None,
    transform_graph: Annotated[
        Path | None, typer.Option("--transform-graph", help="The folder of the transform graph.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Shared; gets model, model_run and checkpoints. Else WORKDIR/workers.",
        ),
    ] = None,
    parent: Annotated[
        Path | None,
        typer.Option("--parent", help="An export to begin with: model.weights: last_blessed."),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option("--workers", metavar="HOST:PORT,...", help="All of them, without TF_CONFIG."),
    ] = None,
    worker: Annotated[
        int | None, typer.Option("--worker", help="Which of --workers this is, from 0.")
    ] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train as one of several machines; start it on each, with the same options.

    Which of them it is says TF_CONFIG, which Kubeflow's TFJob sets, or --workers and --worker.

    Exit codes: 0 trained (worker 0 has exported), 2 bad usage or configuration, or the workers
    disagree, 4 training diverged, 1 anything else: start all of them again.
    """
    from pipeline.training_workers.train_worker import (
        Transformed,
        WorkerRequest,
        find_transformed,
        set_cluster,
        train_as_worker,
    )

    checked = load_config(config, settings)
    if (examples is None) != (transform_graph is None):
        raise ConfigError("--examples and --transform-graph belong together: give both")
    if (workdir is None) == (examples is None):
        raise ConfigError("give --workdir, or --examples and --transform-graph")
    if workdir is not None:
        transformed = find_transformed(workdir)
        out = out or workdir / "workers"
    elif examples is not None and transform_graph is not None:
        transformed = Transformed(examples.resolve(), transform_graph.resolve())
    if out is None:
        raise ConfigError("--examples needs --out, a folder that all workers share")
    set_cluster(workers, worker)
    # Read when TensorFlow is first imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    result = train_as_worker(
        WorkerRequest(checked, transformed, out.resolve(), parent and parent.resolve()),
        _tell_progress,
        lambda number, count: _tell(f"worker {number} of {count} waits for the others"),
    )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result), indent=2))
    elif result.before:
        typer.echo(f"trained already: {result.model}; to train again, give another --out")
    elif result.worker == 0:
        typer.echo(f"model  {result.model}")
