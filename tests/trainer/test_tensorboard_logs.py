"""TensorBoard's logs."""

import pytest
import tensorflow as tf

from trainer.tensorboard_logs import TensorBoardLogs
from transform.errors import StorageError
from transform.training_record import EpochRecord

RECORDS = [
    EpochRecord("head", 1, {"loss": 0.7, "learning_rate": 0.001, "val_loss": 0.8}),
    EpochRecord("fine-tuning", 1, {"loss": 0.5, "learning_rate": 0.01, "val_loss": 0.6}),
]


def logged(folder):
    """Values by part, tag and step, of what TensorBoard shows as scalars."""
    found = []
    for part in ("train", "validation"):
        for path in sorted((folder / part).iterdir()):
            for event in tf.compat.v1.train.summary_iterator(str(path)):
                for value in event.summary.value:
                    assert value.metadata.plugin_data.plugin_name == "scalars"
                    figure = float(tf.make_ndarray(value.tensor))
                    found.append((part, value.tag, event.step, pytest.approx(figure)))
    return found


WANTED = [
    ("train", "epoch_loss", 1, 0.7),
    ("train", "epoch_learning_rate", 1, 0.001),
    ("train", "epoch_loss", 2, 0.5),
    ("train", "epoch_learning_rate", 2, 0.01),
    ("validation", "epoch_loss", 1, 0.8),
    ("validation", "epoch_loss", 2, 0.6),
]


def test_training_and_validation_are_two_runs_of_one_curve(tmp_path):
    logs = TensorBoardLogs(str(tmp_path), [])
    for record in RECORDS:
        logs.write(record)
    assert logged(tmp_path) == WANTED


def test_after_a_stop_every_epoch_is_there_once(tmp_path):
    """The second epoch was logged, but its checkpoint was not written any more."""
    before = TensorBoardLogs(str(tmp_path), [])
    for record in RECORDS:
        before.write(record)
    after = TensorBoardLogs(str(tmp_path), RECORDS[:1])
    after.write(RECORDS[1])
    assert logged(tmp_path) == WANTED


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"TensorBoard logs cannot be written to .*file/logs"):
        TensorBoardLogs(str(tmp_path / "file" / "logs"), [])
