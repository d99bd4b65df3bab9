"""That all workers train the same thing, and go on from the same epoch.

Their shares of a step are added up whatever they are, so that workers which disagree would go on
to a model that nobody asked for, or wait for each other for ever.
"""

from __future__ import annotations

import hashlib

from trainer.distribution import Devices
from transform.errors import ConfigError


def require_same_training(devices: Devices, training: str) -> None:
    """Compare what the workers are to do; every one calls it, before it builds a network.

    Args:
      devices: of this worker.
      training: all that decides the course of training, as this worker was told.

    Raises:
      ConfigError: another worker was told something else; on all of them, with the same words.
    """
    digest = hashlib.sha256(training.encode()).digest()
    other = _first_other(devices.of_all_workers(int.from_bytes(digest[:7], "big")))
    if other is not None:
        raise ConfigError(
            f"worker {other} was given another training than worker 0; give all of them the same "
            "configuration, examples and weights, under the same paths, and the same versions of "
            "ctnet and its packages"
        )


def require_same_epoch(devices: Devices, finished_epochs: int, checkpoints: str | None) -> None:
    """Compare where the workers go on; every one calls it, before the first step.

    Args:
      devices: of this worker.
      finished_epochs: after which this worker would go on.
      checkpoints: the folder that it read this from, None for none.

    Raises:
      ConfigError: another worker would go on elsewhere; on all of them, with the same words.
    """
    epochs = devices.of_all_workers(finished_epochs)
    other = _first_other(epochs)
    if other is not None:
        raise ConfigError(
            f"worker 0 would go on after epoch {epochs[0]}, worker {other} after {epochs[other]}; "
            f"all of them must see the same checkpoints: put {checkpoints} on storage that they "
            "share, or remove it to begin anew"
        )


def _first_other(numbers: list[int]) -> int | None:
    """Which worker is the first to say something else than worker 0."""
    return next((place for place, one in enumerate(numbers) if one != numbers[0]), None)
