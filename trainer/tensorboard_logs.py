"""The learning curves as TensorBoard shows them, named as Keras's own callback names them.

Keras's callback and `tf.summary.scalar` need the tensorboard package, which is not small and which
only those need who look: what they write can be written without it.
"""

from __future__ import annotations

import tensorflow as tf

from transform.training_record import EpochRecord
from transform.whole_file import explaining_failures

TRAIN, VALIDATION = "train", "validation"
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
    data_class="DATA_CLASS_SCALAR",
)
_OF_VALIDATION = "val_"
_WHAT = "the TensorBoard logs"


class TensorBoardLogs:
    """Loss, AUC, accuracy and learning rate by epoch, counted from 1 through both phases."""

    def __init__(self, folder: str, records: list[EpochRecord]):
        """Begin anew with the epochs that are there already, so that each is there once.

        Raises:
          StorageError: the folder cannot be written to.
        """
        self._folder = folder
        self._epochs = 0
        with explaining_failures(_WHAT, folder):
            for part in (TRAIN, VALIDATION):
                if tf.io.gfile.exists(f"{folder}/{part}"):
                    tf.io.gfile.rmtree(f"{folder}/{part}")
            self._writers = {
                part: tf.summary.create_file_writer(f"{folder}/{part}")
                for part in (TRAIN, VALIDATION)
            }
        for record in records:
            self.write(record)

    def write(self, record: EpochRecord) -> None:
        """Add an epoch.

        Raises:
          StorageError: the folder cannot be written to.
        """
        self._epochs += 1
        with explaining_failures(_WHAT, self._folder):
            for name, value in record.metrics.items():
                part = VALIDATION if name.startswith(_OF_VALIDATION) else TRAIN
                tag = f"epoch_{name.removeprefix(_OF_VALIDATION)}"
                with self._writers[part].as_default():
                    tf.summary.write(tag, tf.constant(value), self._epochs, metadata=_SCALAR)
            for writer in self._writers.values():
                writer.flush()
