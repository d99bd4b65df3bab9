"""Warm start: the network's weights beside its export, and a training that begins with them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import tensorflow as tf
import tf_keras
from absl import logging

from trainer.model import ModelSettings, Network, build_network
from trainer.weights import RANDOM_WEIGHTS, resolve_weights
from transform.errors import ConfigError
from transform.whole_file import UNFINISHED, explaining_failures

_FOLDER = "network"
_NETWORK = "network.keras"
_SETTINGS = "network.json"
_WHAT = "the network's weights"

# Where a run's configuration says what a network is made of.
_KEYS = {
    "backbone": "model.backbone",
    "head": "model.head",
    "image_size": "transform.image_size",
}


def network_folder(export: str) -> str:
    """Where the network of an export lies: beside it, inside the same model artifact.

    Args:
      export: the SavedModel's folder, as TFX's Trainer names it (`FnArgs.serving_model_dir`, and
        `FnArgs.base_model` of the next training).
    """
    return f"{export.rstrip('/').rpartition('/')[0]}/{_FOLDER}"


def _remove(folder: str) -> None:
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)


@contextlib.contextmanager
def _copied_to(folder: str) -> Iterator[Path]:
    """A temporary folder, whose files are copied at the end."""
    with tempfile.TemporaryDirectory() as local:
        # An error of the disk under it names no file.
        with explaining_failures(_WHAT, local, chosen_by="TMPDIR"):
            yield Path(local)
        for path in Path(local).iterdir():
            tf.io.gfile.copy(str(path), f"{folder}/{path.name}")


@contextlib.contextmanager
def _whole_or_not_at_all(folder: str) -> Iterator[Path]:
    """A local folder to write to; what is in it comes under the name `folder` at the end."""
    unfinished = folder + UNFINISHED
    try:
        _remove(unfinished)
        tf.io.gfile.makedirs(unfinished)
        # Keras writes its file with zipfile, which knows local paths only.
        if "://" in folder:
            with _copied_to(unfinished) as local:
                yield local
        else:
            yield Path(unfinished)
        _remove(folder)
        tf.io.gfile.rename(unfinished, folder)
    finally:
        _remove(unfinished)


def save_network(network: Network, settings: ModelSettings, folder: str) -> None:
    """Save all weights, BatchNorm's averages included, for a later training to begin with.

    Args:
      network: trained.
      settings: that made it.
      folder: is made, whole or not at all (see `network_folder`); every worker of a distributed
        training must take part, each with a folder of its own.

    Raises:
      StorageError: the folder, or that for temporary files, cannot be written.
    """
    # The compiled model would take its optimizer along, which is twice as large as the network.
    bare = tf_keras.Model(network.model.inputs, network.model.outputs)
    with (
        explaining_failures(_WHAT, folder),
        _whole_or_not_at_all(folder) as local,
    ):
        # Keras's older format goes by an order that freezing layers changes, and its file of bare
        # weights takes the process down with it where the disk is full.
        bare.save(local / _NETWORK)
        (local / _SETTINGS).write_text(json.dumps(dataclasses.asdict(settings), indent=1))


def _check_settings(settings: ModelSettings, saved: dict[str, Any], base_model: str) -> None:
    differing = ["backbone", "head"]
    if settings.head == "paper":
        # Its dense layer has a weight for every place in the image.
        differing.append("image_size")
    for name in differing:
        wanted = getattr(settings, name)
        if saved.get(name) != wanted:
            key = _KEYS[name]
            raise ConfigError(
                f"model.weights: last_blessed was made with {key}: {saved.get(name)}, and this run "
                f"has {wanted} ({base_model}); set {key}: {saved.get(name)}, or "
                "model.weights: imagenet to start anew"
            )


def load_network_weights(network: Network, settings: ModelSettings, base_model: str) -> None:
    """Give a network all weights, of backbone and head, of an earlier one.

    What Transform subtracts may be another number than then: it is a constant of the network's
    first layer and no weight, so that the loaded network is the same function of Hounsfield units.

    Args:
      network: built from `settings`, with whatever weights.
      settings: of this run.
      base_model: the earlier export's folder, as in `FnArgs.base_model`.

    Raises:
      ConfigError: there are no weights beside the export, or they are of another architecture.
    """
    folder = network_folder(base_model)
    try:
        with tf.io.gfile.GFile(f"{folder}/{_SETTINGS}") as file:
            saved = dict(json.loads(file.read()))
        _check_settings(settings, saved, base_model)
        with tempfile.TemporaryDirectory() as local:
            copied = f"{local}/{_NETWORK}"
            tf.io.gfile.copy(f"{folder}/{_NETWORK}", copied)
            network.model.load_weights(copied)
    except (OSError, tf.errors.OpError, ValueError, TypeError, KeyError, BadZipFile) as error:
        line = " ".join(str(error).split())
        raise ConfigError(
            f"model.weights: last_blessed: {folder} has no weights that fit this network ({line}); "
            "set model.weights: imagenet to start anew"
        ) from error


def starting_network(
    settings: ModelSettings, *, weights: str, base_model: str | None, warm_start: bool
) -> Network:
    """The network that a training begins with.

    Args:
      settings: of the network.
      weights: of the backbone where there is no earlier model, as `resolve_weights` takes them.
      base_model: the earlier export's folder, None where there is none.
      warm_start: whether an earlier model was looked for.

    Raises:
      ConfigError: the weights are missing or do not fit.
    """
    if base_model is None:
        if warm_start:
            logging.info("model.weights: last_blessed: none is blessed yet, so from %s", weights)
        return build_network(settings, resolve_weights(weights))
    network = build_network(settings, RANDOM_WEIGHTS)
    load_network_weights(network, settings, base_model)
    logging.info("model.weights: last_blessed: training starts from %s", base_model)
    return network
