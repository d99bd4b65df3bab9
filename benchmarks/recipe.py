"""Which parts of the training recipe help, on real data, and by how much more than luck.

    python -m benchmarks.recipe --data manifest.csv --weights efficientnetb3_notop.h5 --workdir W

trains every row below once per seed with the Trainer's own `run_fn`, prints a table in Markdown,
and does only what is missing when it is started again. `manifest.csv` is what
`ctnet prepare covid-ct` writes. The first row is configs/covid_ct.yaml but for the number of
epochs, which is the same for all rows; the others are that with the changes they name.

Everything in the table is of the validation split. `--test ROW` asks the exported models of one
row about the test split, so that it is read once per seed, of the recipe that was chosen.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "covid_ct.yaml"
SECONDS = "seconds.json"

ROWS: dict[str, list[str]] = {
    "recipe": [],
    "all-stages": ["train.frozen_stages=0"],
    "five-frozen-stages": ["train.frozen_stages=5"],
    "layer-decay": ["train.layer_decay=0.8"],
    "frozen-batch-norm": ["model.batch_norm=frozen", "train.learning_rate=3e-4"],
    "batch-norm-momentum-0.9": ["model.batch_norm_momentum=0.9"],
    "averaged-weights": ["train.weight_average=0.5"],
    "strong-augmentation": [
        "train.augmentation.rotation=15",
        "train.augmentation.shift=0.15",
        "train.augmentation.zoom=0.3",
        "train.augmentation.brightness=0.1",
        "train.augmentation.contrast=0.2",
    ],
    "no-augmentation": [
        "train.augmentation.rotation=0",
        "train.augmentation.shift=0",
        "train.augmentation.flip=false",
        "train.augmentation.pad=0",
        "train.augmentation.zoom=0",
        "train.augmentation.brightness=0",
        "train.augmentation.contrast=0",
    ],
    "no-smoothing": ["train.label_smoothing=0"],
    "no-head-phase": ["train.head_epochs=0"],
    "no-flip-average": ["model.flip_average=false"],
}
ASKED_OTHERWISE = ("no-flip-average",)
"""Rows whose training is the recipe's: only how the network is asked differs."""


@dataclasses.dataclass(frozen=True)
class Study:
    """Where things are.

    Attributes:
      data: the manifest.
      weights: of the backbone.
      workdir: for everything that is made.
      epochs: of fine-tuning, of every row.
      image_size: side of a slice, pixels, of every row.
    """

    data: Path
    weights: str
    workdir: Path
    epochs: int
    image_size: int

    @property
    def ingested(self) -> Path:
        """A run folder with the examples and what Transform made of them."""
        return self.workdir / f"data-{self.image_size}"

    def training(self, row: str, seed: int) -> Path:
        """The folder of one training."""
        return (
            self.workdir / f"{self.image_size}-pixels-{self.epochs}-epochs" / row / f"seed-{seed}"
        )

    def settings(self, row: str, seed: int) -> list[str]:
        """What `--set` would be given."""
        return [
            f"model.weights={self.weights}",
            f"train.epochs={self.epochs}",
            f"transform.image_size={self.image_size}",
            f"seed={seed}",
            *ROWS[row],
        ]


def _newest(study: Study, output: str) -> Path:
    """The newest artifact of a step's output, `Step/output`."""
    artifacts = (study.ingested / "pipeline" / output).glob("*")
    return max(artifacts, key=lambda folder: int(folder.name))


def _ingest(study: Study) -> None:
    """Run the pipeline once with a network that costs nothing, for its first steps."""
    if (study.ingested / "summary.json").exists():
        return
    cheap = [
        *("model.backbone=tiny", "model.weights=none", "train.epochs=1", "train.frozen_stages=0"),
        f"transform.image_size={study.image_size}",
    ]
    command = [
        *(sys.executable, "-m", "pipeline.cli", "run", "--config", str(CONFIG)),
        *("--data", str(study.data), "--workdir", str(study.ingested)),
    ]
    for assignment in cheap:
        command += ["--set", assignment]
    done = subprocess.run(command, capture_output=True, text=True)
    # The gate does not bless such a network, which is another exit code.
    if not (study.ingested / "summary.json").exists():
        raise SystemExit(done.stdout + done.stderr)


def _train(study: Study, row: str, seed: int) -> None:
    """One training, in this process."""
    import tfx.v1  # noqa: F401 before everything that imports tfx_bsl
    from tfx.components.trainer.fn_args_utils import FnArgs

    from pipeline.config import load_config
    from pipeline.dag import run_fn_config
    from trainer.run import run_fn
    from trainer.weights import resolve_weights

    config = load_config(CONFIG, study.settings(row, seed))
    folder = study.training(row, seed)
    examples = _newest(study, "Transform/transformed_examples")
    begun = time.monotonic()
    run_fn(
        FnArgs(
            train_files=[f"{examples}/Split-train/*"],
            eval_files=[f"{examples}/Split-eval/*"],
            transform_output=str(_newest(study, "Transform/transform_graph")),
            serving_model_dir=str(folder / "model"),
            model_run_dir=str(folder / "run"),
            custom_config={
                **run_fn_config(config, resolve_weights(config.model.weights)),
                "checkpoints": str(folder / "checkpoints"),
            },
        )
    )
    (folder / SECONDS).write_text(json.dumps(round(time.monotonic() - begun)))


def _train_apart(study: Study, row: str, seed: int) -> None:
    """One training in a process of its own, unless it is there already."""
    folder = study.training(row, seed)
    if (folder / SECONDS).exists() or row in ASKED_OTHERWISE:
        return
    print(f"{row}, seed {seed}", file=sys.stderr, flush=True)
    # What a killed training had exported; its checkpoints stay.
    shutil.rmtree(folder / "model", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
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


def _figures(study: Study, row: str, seed: int) -> dict[str, float] | None:
    """What one training says of the validation split; None where it is not done."""
    from transform.training_record import read_record

    folder = study.training("recipe" if row in ASKED_OTHERWISE else row, seed)
    if not (folder / SECONDS).exists():
        return None
    record = read_record(folder / "run")
    if row in ASKED_OTHERWISE:
        # The figures of the epochs are of plain answers.
        return {"auc": record.epochs[-1].metrics["val_auc"]}
    assert record.negative_log_likelihood
    assert record.calibration_error
    return {
        "auc": record.validation["auc"],
        "loss": record.negative_log_likelihood[1],
        "ece before": record.calibration_error[0],
        "ece after": record.calibration_error[1],
        "minutes": json.loads((folder / SECONDS).read_text()) / 60,
    }


def _spread(values: list[float], digits: int) -> str:
    """Mean and standard deviation, as the table has them."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _print_table(study: Study, rows: list[str], seeds: list[int]) -> None:
    columns = {"auc": 3, "loss": 3, "ece before": 3, "ece after": 3, "minutes": 1}
    print(
        f"| {study.image_size} pixels, {study.epochs} epochs | seeds | "
        + " | ".join(columns)
        + " |"
    )
    print("|---" * (len(columns) + 2) + "|")
    for row in rows:
        found = [one for seed in seeds if (one := _figures(study, row, seed))]
        if not found:
            continue
        cells = [
            _spread([one[name] for one in found], digits) if name in found[0] else ""
            for name, digits in columns.items()
        ]
        print(f"| {row} | {len(found)} | " + " | ".join(cells) + " |")


def _test(study: Study, row: str, seed: int) -> dict[str, Any]:
    """What one exported model says of the test split."""
    import tensorflow as tf
    from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

    from transform import ct_example, prediction

    split = _newest(study, "CTExampleGen/examples") / f"Split-{ct_example.TEST}"
    files = [str(file) for file in sorted(split.iterdir())]
    signature = tf.saved_model.load(str(study.training(row, seed) / "model")).signatures[
        prediction.SERVING_DEFAULT
    ]
    truth, decided, probability = [], [], []
    for batch in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(16):
        parsed = tf.io.parse_example(batch, {ct_example.LABEL: tf.io.FixedLenFeature([], tf.int64)})
        answers = signature(examples=batch)
        truth += parsed[ct_example.LABEL].numpy().tolist()
        decided += answers[prediction.DECISION].numpy().reshape(-1).tolist()
        probability += answers[prediction.PROBABILITY].numpy().reshape(-1).tolist()
    return {
        "auc": roc_auc_score(truth, probability),
        "accuracy": accuracy_score(truth, decided),
        "F1": f1_score(truth, decided),
        "sensitivity": recall_score(truth, decided),
        "specificity": recall_score(truth, decided, pos_label=0),
        "accuracy at 0.5": accuracy_score(truth, [one >= 0.5 for one in probability]),
        "probabilities": probability,
        "labels": truth,
    }


def _print_test(study: Study, row: str, seeds: list[int]) -> None:
    from sklearn.metrics import roc_auc_score

    found = [_test(study, row, seed) for seed in seeds]
    names = [name for name in found[0] if name not in ("probabilities", "labels")]
    print("| test split | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for seed, one in zip(seeds, found, strict=True):
        print(f"| seed {seed} | " + " | ".join(f"{one[name]:.3f}" for name in names) + " |")
    spread = [_spread([one[name] for one in found], 3) for name in names]
    print("| mean ± sd | " + " | ".join(spread) + " |")
    mean = np.mean([one["probabilities"] for one in found], axis=0)
    print(f"\nAUC of the mean of the {len(seeds)}: {roc_auc_score(found[0]['labels'], mean):.3f}")


def main() -> None:
    """Train what is missing, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the manifest")
    parser.add_argument("--weights", required=True, help="of the backbone: a file, or imagenet")
    parser.add_argument("--workdir", type=Path, required=True, help="for everything that is made")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12, help="of fine-tuning")
    parser.add_argument("--image-size", type=int, default=224, help="side of a slice, pixels")
    parser.add_argument("--test", choices=ROWS, metavar="ROW", help="read the test split, of ROW")
    parser.add_argument("--one", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    study = Study(
        arguments.data, arguments.weights, arguments.workdir, arguments.epochs, arguments.image_size
    )
    if arguments.one:
        _train(study, arguments.one, arguments.seeds[0])
    elif arguments.test:
        _print_test(study, arguments.test, arguments.seeds)
    else:
        _ingest(study)
        for row in arguments.rows:
            for seed in arguments.seeds:
                _train_apart(study, row, seed)
        _print_table(study, arguments.rows, arguments.seeds)


if __name__ == "__main__":
    main()
