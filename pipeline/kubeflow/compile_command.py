"""`ctnet compile kubeflow`: the pipeline as a definition for a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.config import load_config
from pipeline.run_folder.run_log import hushed
from pipeline.run_options import SetOption
from transform.errors import ConfigError


def compile_kubeflow(
    config: Annotated[
        Path, typer.Option("--config", help="The run's configuration (YAML).", show_default=False)
    ],
    root: Annotated[
        str,
        typer.Option("--root", metavar="URI", help="Where artifacts go, as in gs://BUCKET/ctnet."),
    ],
    image: Annotated[str, typer.Option("--image", help="The image that every step runs.")],
    output: Annotated[Path, typer.Option("--output", help="YAML for KFP, JSON for Vertex AI.")],
    data: Annotated[
        str | None,
        typer.Option("--data", help="The manifest, or a folder of spans, as the steps see it."),
    ] = None,
    gpu_image: Annotated[
        str | None,
        typer.Option("--gpu-image", metavar="IMAGE", help="The Trainer's, where it is another."),
    ] = None,
    settings: SetOption = None,
) -> None:
    """Write the Kubeflow Pipelines v2 definition of the same pipeline.

    Exit codes: 0 written, 2 bad usage or configuration.
    """
    checked = load_config(config, settings)
    where = data or checked.data
    if where is None:
        raise ConfigError("no manifest: give --data MANIFEST, or data: in the configuration")
    try:
        with hushed():
            from pipeline.kubeflow.compiler import compile_for_kubeflow
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "kfp":
            raise
        raise ConfigError(
            "Kubeflow's own package is not installed: pip install 'ctnet[kubeflow]'"
        ) from None
    with hushed():
        compile_for_kubeflow(
            checked, data=where, root=root, image=image, gpu_image=gpu_image, output=output
        )
    typer.echo(f"pipeline {checked.name} for image {image}: {output}")
