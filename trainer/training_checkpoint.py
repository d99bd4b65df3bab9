"""What training leaves after each epoch, so that it can go on there after it was stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging

from transform.errors import StorageError
from transform.training_record import EpochRecord
from transform.whole_file import explaining_failures

_NAME = "epochs"
# The last, and the one before it in case the last cannot be read.
_KEPT = 2
_WHAT = "the state of training"


@dataclasses.dataclass
class TrainingState:
    """Where training is, but for the network's weights and the optimizer.

    Which phase and epoch come next and whether patience is at its end follow from the records.

    Attributes:
      records: of the finished epochs, of both phases.
      average: running average of the weights, None where there is none.
      best: the weights of the best epoch, None where none was marked.
    """

    records: list[EpochRecord] = dataclasses.field(default_factory=list)
    average: list[np.ndarray] | None = None
    best: list[np.ndarray] | None = None


class _StateAsBytes(tf.train.experimental.PythonState):
    """A training state, and what it belongs to, as a string in a checkpoint."""

    def __init__(self, state: TrainingState, fingerprint: str):
        self.state = state
        self.fingerprint = fingerprint

    def serialize(self) -> bytes:
        """The state as a NumPy archive: the weights, and JSON for the rest."""
        kept = {"average": self.state.average, "best": self.state.best}
        described = {
            "fingerprint": self.fingerprint,
            "records": [dataclasses.asdict(record) for record in self.state.records],
            "arrays": {name: arrays and len(arrays) for name, arrays in kept.items()},
        }
        arrays: dict[str, Any] = {
            f"{name} {number}": array
            for name, several in kept.items()
            for number, array in enumerate(several or [])
        }
        file = io.BytesIO()
        np.savez(file, described=np.array(json.dumps(described)), **arrays)
        return file.getvalue()

    def deserialize(self, content: bytes) -> None:
        """The inverse of `serialize`."""
        with np.load(io.BytesIO(content)) as archive:
            described = json.loads(str(archive["described"]))
            kept = {
                name: count and [archive[f"{name} {number}"] for number in range(count)]
                for name, count in described["arrays"].items()
            }
        records = [EpochRecord(**record) for record in described["records"]]
        self.state = TrainingState(records, **kept)
        self.fingerprint = described["fingerprint"]


def clear(folder: str) -> None:
    """Remove the checkpoints, when training is over and what it gave is safe."""
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)


def _read_all(path: str) -> None:
    """Read every byte once, which compares TensorFlow's checksums.

    Raises:
      tf.errors.OpError: something is missing or damaged.
    """
    reader = tf.train.load_checkpoint(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)


def _readable(folder: str) -> Iterator[tuple[str, _StateAsBytes]]:
    """The checkpoints of a folder that are not damaged, the last first."""
    listed = tf.train.get_checkpoint_state(folder)
    for path in reversed(listed.all_model_checkpoint_paths if listed else []):
        found = _StateAsBytes(TrainingState(), "")
        try:
            _read_all(path)
            tf.train.Checkpoint(state=found).restore(path).expect_partial()
        except (tf.errors.OpError, ValueError, KeyError) as error:
            line = " ".join(str(error).split())
            logging.warning("%s is not taken: it is damaged (%s)", path, line)
            continue
        yield path, found


class TrainingCheckpoints:
    """The checkpoints of one training, in a folder that all workers can read.

    A checkpoint counts only once `tf.train.CheckpointManager` has named it in the folder's index,
    after all else is written; one that was under way when the process was killed is never seen.
    """

    def __init__(self, folder: str, own_folder: str, fingerprint: str):
        """Open the folder.

        Args:
          folder: of the chief.
          own_folder: where this worker writes: `folder` itself for the chief.
          fingerprint: of all that decides the course of training; a checkpoint with another is
            not taken.

        Raises:
          StorageError: `own_folder` cannot be written to.
        """
        self._folder = folder
        self._own_folder = own_folder
        self._fingerprint = fingerprint
        self._found: str | None = None
        with explaining_failures(_WHAT, own_folder):
            tf.io.gfile.makedirs(own_folder)
            probe = f"{own_folder}/writable"
            with tf.io.gfile.GFile(probe, "w") as file:
                file.write("yes")
            tf.io.gfile.remove(probe)

    def read(self) -> TrainingState:
        """The state after the last finished epoch, or that before the first.

        A checkpoint that is damaged or belongs to another training is passed over, with a line in
        the log.
        """
        for path, found in _readable(self._folder):
            if found.fingerprint == self._fingerprint:
                self._found = path
                return found.state
            logging.warning("%s is not taken: it belongs to another training", path)
        return TrainingState()

    def restore(
        self, weights: list[tf.Variable], optimizer: tf_keras.optimizers.Optimizer | None
    ) -> None:
        """Give variables the values that they had after the epoch that `read` told of.

        Args:
          weights: of the network.
          optimizer: built; None where the next epoch begins with a new one.
        """
        if optimizer is None:
            tf.train.Checkpoint(weights=weights).restore(self._found).expect_partial()
        else:
            status = tf.train.Checkpoint(weights=weights, optimizer=optimizer).restore(self._found)
            status.assert_existing_objects_matched().expect_partial()

    def save(
        self,
        state: TrainingState,
        weights: list[tf.Variable],
        optimizer: tf_keras.optimizers.Optimizer,
    ) -> None:
        """Save after an epoch; all workers must, because some variables are read across them.

        Raises:
          StorageError: it cannot be written; the checkpoints before stay as they are.
        """
        checkpoint = tf.train.Checkpoint(
            weights=weights, optimizer=optimizer, state=_StateAsBytes(state, self._fingerprint)
        )
        number = len(state.records)
        try:
            with explaining_failures(_WHAT, self._own_folder):
                manager = tf.train.CheckpointManager(
                    checkpoint, self._own_folder, max_to_keep=_KEPT, checkpoint_name=_NAME
                )
                manager.save(checkpoint_number=number)
        except StorageError:
            self._remove_unfinished(number)
            raise

    def _remove_unfinished(self, number: int) -> None:
        for pattern in (f"{_NAME}-{number}.*", f"{_NAME}-{number}_temp", "checkpoint.tmp*"):
            for path in tf.io.gfile.glob(f"{self._own_folder}/{pattern}"):
                with contextlib.suppress(tf.errors.OpError):
                    if tf.io.gfile.isdir(path):
                        tf.io.gfile.rmtree(path)
                    else:
                        tf.io.gfile.remove(path)
