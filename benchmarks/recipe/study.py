"""The study: its rows, what each of them is trained with, and where things are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig, load_config

BASE = Path(__file__).with_name("base.yaml")
"""The first row. It stays as it is when the recipe changes, so that rows stay comparable."""

ROWS: dict[str, list[str]] = {
    "base": [],
    "no-smoothing": ["train.label_smoothing=0"],
    "no-smoothing-no-head-phase": ["train.label_smoothing=0", "train.head_epochs=0"],
    "layer-decay": ["train.layer_decay=0.8"],
    "no-head-phase": ["train.head_epochs=0"],
    "frozen-batch-norm": ["model.batch_norm=frozen", "train.learning_rate=3e-4"],
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
}
"""What each row changes of the base, as `--set` would be given it."""

CHOSEN = ("no-smoothing", 12)
"""The row, and the epochs of fine-tuning, that configs/covid_ct.yaml is."""

_SETTINGS = "settings.json"


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

    def newest(self, output: str) -> Path:
        """The newest artifact there of a step's output, `Step/output`."""
        artifacts = (self.ingested / "pipeline" / output).glob("*")
        return max(artifacts, key=lambda folder: int(folder.name))

    def training(self, row: str, seed: int) -> Path:
        """The folder of one training."""
        return (
            self.workdir / f"{self.image_size}-pixels-{self.epochs}-epochs" / row / f"seed-{seed}"
        )

    def config(self, row: str, seed: int) -> RunConfig:
        """What it is trained with."""
        return load_config(
            BASE,
            [
                f"model.weights={self.weights}",
                f"train.epochs={self.epochs}",
                f"transform.image_size={self.image_size}",
                f"seed={seed}",
                *ROWS[row],
            ],
        )

    def claim(self, row: str, seed: int) -> Path:
        """The folder of one training, made, with what it is trained with.

        Raises:
          SystemExit: what is there was trained with something else.
        """
        folder = self.training(row, seed)
        settings = json.dumps(recipe_of(self.config(row, seed)), indent=1, sort_keys=True)
        path = folder / _SETTINGS
        if path.exists() and path.read_text() != settings:
            raise SystemExit(f"{path}: not what row {row} is trained with now; remove {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(settings)
        return folder


def recipe_of(config: RunConfig) -> dict[str, Any]:
    """What decides what a network becomes, but for data and the weights' place."""
    return config.model_dump(
        mode="json",
        include={"transform": True, "train": True, "seed": True, "model": True},
        exclude={"model": {"weights"}},
    )
