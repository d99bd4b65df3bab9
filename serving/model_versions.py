"""Which versions of a model lie under a folder, as TF Serving lays them out: <folder>/<number>/."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from transform.errors import ConfigError

# TensorFlow and the Pusher write this file last, so a folder that has it is whole.
SAVED_MODEL_FILE = "saved_model.pb"

# Everything else (`_temp_3`, `3.tmp`, `.3`) is somebody's unfinished work.
_NUMBER = re.compile(r"[0-9]+", re.ASCII)

# ModelSpec.version is an int64.
_HIGHEST = 2**63 - 1


@dataclasses.dataclass(frozen=True, order=True)
class ModelVersion:
    """A whole version: its number and the folder of its SavedModel."""

    number: int
    folder: Path


def whole_versions(model_dir: Path) -> list[ModelVersion]:
    """The whole versions under a folder, oldest first; empty where there are none.

    A version is a folder named by a number that holds `saved_model.pb`. Half-written and temporary
    folders are passed over.

    Raises:
      ConfigError: the folder does not exist or cannot be listed.
    """
    try:
        children = list(model_dir.iterdir())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"cannot list the model folder {model_dir} ({reason}): give the folder that holds the"
            " numbered versions"
        ) from error
    return sorted(
        ModelVersion(int(child.name), child)
        for child in children
        if _NUMBER.fullmatch(child.name)
        and int(child.name) <= _HIGHEST
        and (child / SAVED_MODEL_FILE).is_file()
    )


def newest_version(model_dir: Path) -> ModelVersion:
    """The whole version with the highest number.

    Raises:
      ConfigError: there is none, or the folder cannot be listed.
    """
    versions = whole_versions(model_dir)
    if versions:
        return versions[-1]
    if (model_dir / SAVED_MODEL_FILE).is_file():
        raise ConfigError(
            f"{model_dir} is a SavedModel itself: give the folder above it, and let the folder of"
            " the SavedModel be named by its version number"
        )
    raise ConfigError(
        f"no whole model version under {model_dir}: expected {model_dir}/<number>/"
        f"{SAVED_MODEL_FILE}; push a model there first or give another folder"
    )
