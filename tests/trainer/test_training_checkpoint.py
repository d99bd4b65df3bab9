"""The state of training between its epochs."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.training_checkpoint import (
    TrainingCheckpoints,
    TrainingState,
    clear,
)
from transform.errors import StorageError
from transform.training_record import EpochRecord

RECORDS = [
    EpochRecord("head", 1, {"loss": 0.1 + 0.2, "val_auc": 1 / 3}),
    EpochRecord("fine-tuning", 1, {"loss": 1e-8}),
]
SIZE = 20_000


def open_folder(folder, fingerprint="this training"):
    return TrainingCheckpoints(str(folder), str(folder), fingerprint)


def make_variables(value):
    weights = [tf.Variable(tf.fill([SIZE], value))]
    optimizer = tf_keras.optimizers.Adam()
    optimizer.build(weights)
    return weights, optimizer


def save(folder, epochs):
    """What is saved after an epoch has its number for a value."""
    weights, optimizer = make_variables(float(epochs))
    optimizer.iterations.assign(epochs)
    best = [np.full([2], epochs, np.float32)]
    state = TrainingState((2 * RECORDS)[:epochs], best=best)
    open_folder(folder).save(state, weights, optimizer)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_comes_back_to_the_last_bit(tmp_path):
    save(tmp_path, 2)
    checkpoints = open_folder(tmp_path)
    state = checkpoints.read()
    assert state.records == RECORDS
    assert state.average is None
    np.testing.assert_array_equal(state.best, [[2.0, 2.0]])
    weights, optimizer = make_variables(0.0)
    checkpoints.restore(weights, optimizer)
    assert (weights[0].numpy() == 2.0).all()
    assert optimizer.iterations.numpy() == 2


def test_a_folder_without_checkpoints_is_the_beginning(tmp_path):
    folder = tmp_path / "new" / "folder"
    assert open_folder(folder).read() == TrainingState()
    assert names(folder) == []


def test_a_checkpoint_of_another_training_is_not_taken(tmp_path, caplog):
    save(tmp_path, 1)
    assert open_folder(tmp_path, "another").read() == TrainingState()
    assert "epochs-1 is not taken: it belongs to another training" in caplog.text


@pytest.mark.parametrize("part", ["data-00000-of-00001", "index"])
def test_of_a_damaged_checkpoint_the_one_before_is_taken(tmp_path, caplog, part):
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / f"epochs-2.{part}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert open_folder(tmp_path).read().records == RECORDS[:1]
    assert "epochs-2 is not taken: it is damaged" in caplog.text


def test_a_checkpoint_under_way_when_the_process_died_is_not_seen(tmp_path):
    save(tmp_path, 1)
    index = (tmp_path / "checkpoint").read_bytes()
    save(tmp_path, 2)
    (tmp_path / "checkpoint").write_bytes(index)
    assert open_folder(tmp_path).read().records == RECORDS[:1]


def test_only_the_last_two_are_kept(tmp_path):
    for epochs in range(1, 5):
        save(tmp_path, epochs)
    kept = {name.partition(".")[0] for name in names(tmp_path)}
    assert kept == {"checkpoint", "epochs-3", "epochs-4"}


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, files_of_at_most):
    save(tmp_path, 1)
    before = names(tmp_path)
    with files_of_at_most(SIZE), pytest.raises(StorageError, match="state of training") as error:
        save(tmp_path, 2)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == before
    assert open_folder(tmp_path).read().records == RECORDS[:1]
    save(tmp_path, 2)
    assert open_folder(tmp_path).read().records == RECORDS


def test_a_folder_that_cannot_be_written_to_is_one_line_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"state of training cannot be written to .*file/here"):
        open_folder(tmp_path / "file" / "here")


def test_clearing_removes_all_of_it(tmp_path):
    folder = tmp_path / "checkpoints"
    save(folder, 1)
    clear(str(folder))
    assert not folder.exists()
    clear(str(folder))
