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


def _numbered(model_dir: Path) -> list[ModelVersion]:
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
        if _NUMBER.fullmatch(child.name) and int(child.name) <= _HIGHEST and child.is_dir()
    )


def _is_whole(version: ModelVersion) -> bool:
    return (version.folder / SAVED_MODEL_FILE).is_file()


def whole_versions(model_dir: Path) -> list[ModelVersion]:
    """The whole versions under a folder, oldest first; empty where there are none.

    A version is a folder named by a number that holds `saved_model.pb`. Half-written and temporary
    folders are passed over.

    Raises:
      ConfigError: the folder does not exist or cannot be listed.
    """
    return [version for version in _numbered(model_dir) if _is_whole(version)]


def unfinished_versions(model_dir: Path) -> list[ModelVersion]:
    """The numbered folders without `saved_model.pb`, oldest first.

    Raises:
      ConfigError: the folder does not exist or cannot be listed.
    """
    return [version for version in _numbered(model_dir) if not _is_whole(version)]


def newest_version(model_dir: Path, pinned: int | None = None) -> ModelVersion:
    """The whole version with the highest number, or the pinned one.

    Raises:
      ConfigError: there is none, or the folder cannot be listed.
    """
    versions = whole_versions(model_dir)
    if pinned is not None:
        for version in versions:
            if version.number == pinned:
                return version
        known = ", ".join(str(version.number) for version in versions) or "none"
        raise ConfigError(
            f"no whole model version {pinned} under {model_dir}; whole versions there: {known}"
        )
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


def content_mark(version: ModelVersion) -> str:
    """A text that changes when a file of the version is written, added or removed."""
    marks = []
    for path in sorted(version.folder.rglob("*")):
        try:
            status = path.stat()
        except OSError:
            # Whoever writes the version just now removed it.
            continue
        marks.append(f"{path.relative_to(version.folder)}:{status.st_size}:{status.st_mtime_ns}")
    return "\n".join(marks)
