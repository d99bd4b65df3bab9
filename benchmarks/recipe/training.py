"""Train what the study is of: each row once per seed, by the Trainer's own run_fn."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

from benchmarks.recipe.study import BASE, Study

SECONDS = "seconds.json"
"""Written last: where it is, the training is done."""


def ingest(study: Study) -> None:
    """Run the pipeline once with a network that costs nothing, for its first steps."""
    # Written by a run that came to its end.
    if (study.ingested / "report" / "index.html").exists():
        return
    cheap = [
        *("model.backbone=tiny", "model.weights=none", "train.epochs=1", "train.frozen_stages=0"),
        f"transform.image_size={study.image_size}",
    ]
    command = [
        *(sys.executable, "-m", "pipeline.cli", "run", "--config", str(BASE)),
        *("--data", str(study.data), "--workdir", str(study.ingested)),
    ]
    for assignment in cheap:
        command += ["--set", assignment]
    done = subprocess.run(command, capture_output=True, text=True)
    # The gate does not bless such a network, which is another exit code.
    if not (study.ingested / "report" / "index.html").exists():
        raise SystemExit(done.stdout + done.stderr)


def train(study: Study, row: str, seed: int) -> None:
    """One training, in this process."""
    import tfx.v1  # noqa: F401 before everything that imports tfx_bsl
    from tfx.components.trainer.fn_args_utils import FnArgs

    from pipeline.dag import run_fn_config
    from trainer.run import run_fn
    from trainer.weights import resolve_weights

    config = study.config(row, seed)
    folder = study.training(row, seed)
    examples = study.newest("Transform/transformed_examples")
    begun = time.monotonic()
    run_fn(
        FnArgs(
            train_files=[f"{examples}/Split-train/*"],
            eval_files=[f"{examples}/Split-eval/*"],
            transform_output=str(study.newest("Transform/transform_graph")),
            serving_model_dir=str(folder / "model"),
            model_run_dir=str(folder / "run"),
            custom_config={
                **run_fn_config(config, resolve_weights(config.model.weights)),
                "checkpoints": str(folder / "checkpoints"),
            },
        )
    )
    (folder / SECONDS).write_text(json.dumps(round(time.monotonic() - begun)))


def train_apart(study: Study, row: str, seed: int) -> None:
    """One training in a process of its own, unless it is there already."""
    folder = study.claim(row, seed)
    if (folder / SECONDS).exists():
        return
    print(f"{row}, seed {seed}", file=sys.stderr, flush=True)
    # What a killed training had exported; its checkpoints stay.
    shutil.rmtree(folder / "model", ignore_errors=True)
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.recipe", "--one", row, "--seeds", str(seed)),
                *("--data", str(study.data), "--weights", study.weights),
                *("--workdir", str(study.workdir), "--epochs", str(study.epochs)),
                *("--image-size", str(study.image_size)),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise SystemExit((folder / "log.txt").read_text()[-2000:])
