"""What cannot be written is one line that names the place, and nobody's configuration is wrong."""

import errno
import os
import tempfile

import pytest
import tensorflow as tf

from transform.errors import ConfigError, StorageError
from transform.whole_file import explaining_failures, write_whole


def raised_by_tensorflow(kind, message):
    return kind(None, None, message)


def test_a_full_disk_is_no_fault_of_the_configuration():
    """Python's own error, as whatever does not write through TensorFlow raises it."""
    with (
        pytest.raises(StorageError) as stopped,
        explaining_failures("the log", "/dev"),
        open("/dev/full", "wb", buffering=0) as file,
    ):
        file.write(b"more")
    assert not isinstance(stopped.value, ConfigError)
    assert "the log cannot be written to /dev (" in str(stopped.value)
    assert os.strerror(errno.ENOSPC) in str(stopped.value)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_whole(f"{tmp_path}/a/b.txt", b"first")
    write_whole(f"{tmp_path}/a/b.txt", b"second")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"second"
    with pytest.raises(StorageError, match=r"c\.txt cannot be written to .*/a/b\.txt "):
        write_whole(f"{tmp_path}/a/b.txt/c.txt", b"")
    assert [one.name for one in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_a_disk_that_tensorflow_found_full_is_told_of():
    error = raised_by_tensorflow(
        tf.errors.ResourceExhaustedError,
        "{{function_node __wrapped__SaveV2_device_/job:worker/replica:0/task:0/device:CPU:0}} "
        "/work/epochs-1.data; No space left on device [Op:SaveV2]",
    )
    with (
        pytest.raises(
            StorageError, match=r"/work \(/work/epochs-1.data; No space left on device\)"
        ),
        explaining_failures("the state", "/work"),
    ):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        raised_by_tensorflow(
            tf.errors.ResourceExhaustedError,
            "OOM when allocating tensor with shape[9] and type float by allocator GPU_0_bfc",
        ),
        raised_by_tensorflow(
            tf.errors.FailedPreconditionError,
            "Collective ops is aborted by: the device's current incarnation doesn't match",
        ),
    ],
)
def test_memory_and_lost_workers_are_not_blamed_on_the_disk(error):
    with pytest.raises(type(error)) as passed, explaining_failures("the state", "/work"):
        raise error
    assert passed.value is error


def test_the_folder_for_temporary_files_is_named_where_it_is_what_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with (
        pytest.raises(StorageError, match=f"written to {tmp_path}/temporary .* with TMPDIR"),
        explaining_failures("the model", f"{tmp_path}/work"),
    ):
        tempfile.mkdtemp()
    with (
        pytest.raises(StorageError, match=f"written to {tmp_path}/temporary/work .*--workdir"),
        explaining_failures("the model", f"{tmp_path}/temporary/work"),
    ):
        (tmp_path / "temporary" / "work" / "file").write_bytes(b"")
