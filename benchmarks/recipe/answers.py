"""What a training's network says of the splits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from benchmarks.recipe.study import Study

_FILE = "validation.npz"


@dataclasses.dataclass(frozen=True)
class ValidationAnswers:
    """A network's answers to the validation split.

    Attributes:
      plain: logits of the slices, float [n].
      averaged: their means with those of the mirror images, float [n].
      labels: int [n], 0 or 1.
      patients: bytes [n].
    """

    plain: np.ndarray
    averaged: np.ndarray
    labels: np.ndarray
    patients: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> ValidationAnswers:
        """Those of the training in a folder."""
        with np.load(folder / _FILE) as values:
            return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})


def ask_of_validation(study: Study, row: str, seed: int) -> None:
    """Ask a network about each slice and its mirror image, unless that was done."""
    folder = study.training(row, seed)
    if (folder / _FILE).exists():
        return
    import tensorflow_transform as tft
    import tfx.v1  # noqa: F401 before everything that imports tfx_bsl

    from pipeline.dag import run_fn_config
    from trainer.centre import fitted_centre
    from trainer.input import SplitFiles, validation_batches
    from trainer.model import ModelSettings, build_network
    from trainer.warm_start import load_network_weights
    from trainer.weights import RANDOM_WEIGHTS

    config = run_fn_config(study.config(row, seed), RANDOM_WEIGHTS)
    transform = tft.TFTransformOutput(str(study.newest("Transform/transform_graph")))
    examples = study.newest("Transform/transformed_examples")
    files = SplitFiles([f"{examples}/Split-eval/*"], transform)
    settings = ModelSettings(**config["model"], centre=fitted_centre(transform, config["hu_min"]))
    network = build_network(settings, RANDOM_WEIGHTS)
    load_network_weights(network, settings, str(folder / "model"))
    plain, mirrored, labels = [], [], []
    for image, label in validation_batches(files, 16):
        plain.append(network.model.predict_on_batch(image)[:, 0])
        mirrored.append(network.model.predict_on_batch(image[:, :, ::-1])[:, 0])
        labels.append(label.numpy()[:, 0].astype(int))
    of_slice, of_mirror = np.concatenate(plain), np.concatenate(mirrored)
    answers = ValidationAnswers(
        of_slice, (of_slice + of_mirror) / 2, np.concatenate(labels), files.patients()
    )
    np.savez(folder / _FILE, **dataclasses.asdict(answers))


def ask_of_test(study: Study, row: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What one exported model says of the test split: probabilities and labels, [n] each."""
    import tensorflow as tf

    from transform import ct_example, prediction

    split = study.newest("CTExampleGen/examples") / f"Split-{ct_example.TEST}"
    files = [str(file) for file in sorted(split.iterdir())]
    signature = tf.saved_model.load(str(study.training(row, seed) / "model")).signatures[
        prediction.SERVING_DEFAULT
    ]
    probability, labels = [], []
    for batch in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(16):
        parsed = tf.io.parse_example(batch, {ct_example.LABEL: tf.io.FixedLenFeature([], tf.int64)})
        labels.append(parsed[ct_example.LABEL].numpy())
        probability.append(signature(examples=batch)[prediction.PROBABILITY].numpy().reshape(-1))
    return np.concatenate(probability), np.concatenate(labels)
