"""Scored model: which SavedModel a scoring asks, checked before any slice is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipeline.run_folder.workdir import Workdir
from serving.model_versions import SAVED_MODEL_FILE, newest_version
from transform.errors import ConfigError
from transform.prediction import (
    DECISION,
    EXAMPLES,
    IMAGE_BYTES,
    MODEL_NAME,
    PREDICT_IMAGE,
    PROBABILITY,
    SERVING_DEFAULT,
    THRESHOLD,
)

# As AtomicPusher writes it (`CARD_IN_VERSION`, whose import takes TFX), and only of what passed.
# The reasons follow on the same line.
_CARD = "assets.extra/model_card.md"
_PASSED = "**Passed the gate.**"

_INPUTS = {SERVING_DEFAULT: EXAMPLES, PREDICT_IMAGE: IMAGE_BYTES}
_OUTPUTS = {PROBABILITY, DECISION, THRESHOLD}


@dataclasses.dataclass(frozen=True)
class ScoredModel:
    """A model that can be asked.

    Attributes:
      folder: of the SavedModel, absolute.
      version: what results call it: the name of that folder.
      blessed: whether its card says that it passed the gate.
      workdir: the run's folder that it lies in; None where it lies in none.
    """

    folder: Path
    version: str
    blessed: bool
    workdir: Workdir | None

    @property
    def number(self) -> int:
        """The version as a number; 0 for an export that nobody pushed."""
        return int(self.version) if self.version.isdecimal() else 0


def choose_model(folder: Path, *, unblessed: bool) -> ScoredModel:
    """The model that a folder holds.

    Args:
      folder: a SavedModel, a folder of numbered versions (the newest is taken), or a run's folder
        (likewise, of what it serves).
      unblessed: whether to take one that is not known to have passed the gate.

    Raises:
      ConfigError: there is none, it has other signatures than ctnet's, or it is not blessed.
    """
    folder = folder.resolve()
    if not (folder / SAVED_MODEL_FILE).is_file():
        serving = Workdir(folder).serving
        folder = newest_version(serving if serving.is_dir() else folder).folder
    _check_signatures(folder)
    blessed = _passed_the_gate(folder)
    if not blessed and not unblessed:
        raise ConfigError(
            f"{folder}: has no {_CARD} that says that it passed the gate, so that it is no version "
            "that a run pushed; give a pushed version, or --unblessed to score with it all the same"
        )
    return ScoredModel(folder, folder.name, blessed, _workdir_of(folder))


def _passed_the_gate(folder: Path) -> bool:
    try:
        lines = (folder / _CARD).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return any(line.startswith(_PASSED) for line in lines)


def _workdir_of(folder: Path) -> Workdir | None:
    """The run's folder by where it keeps versions: `serving/ctnet/<version>`."""
    if len(folder.parents) < 3 or folder.parts[-3:-1] != ("serving", MODEL_NAME):
        return None
    return Workdir(folder.parents[2])


def _check_signatures(folder: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        saved = saved_model_pb2.SavedModel.FromString((folder / SAVED_MODEL_FILE).read_bytes())
    # protobuf's DecodeError is another class in each of its implementations.
    except Exception as error:
        raise ConfigError(f"{folder}: is no SavedModel that can be read ({error})") from None
    signatures = {
        name: signature
        for graph in saved.meta_graphs
        for name, signature in graph.signature_def.items()
    }
    for name, alias in _INPUTS.items():
        found = signatures.get(name)
        if found is None or set(found.inputs) != {alias} or not set(found.outputs) >= _OUTPUTS:
            raise ConfigError(
                f"{folder}: is no model of ctnet: signature {name} must take {alias} and give "
                f"{', '.join(sorted(_OUTPUTS))}"
            )
