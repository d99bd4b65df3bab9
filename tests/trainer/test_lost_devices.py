"""What a training says that lost a worker, or the memory of a device."""

import pytest
import tensorflow as tf

from trainer import run
from transform.errors import BadDataError, CtnetError, StorageError
from transform.whole_file import explaining_failures

RESTARTED = (
    "Collective ops is aborted by: Device /job:worker/replica:0/task:1/device:CPU:0 current "
    "incarnation doesn't match with one in the group."
)
OUT_OF_MEMORY = (
    "Graph execution error:\n\nDetected at node model/conv defined at (most recent call last):\n"
    '  File "fit.py", line 1, in fit\n\nOOM when allocating tensor with shape[64,224] and type '
    "float on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc\n"
    "\t [[{{node model/conv}}]]\nHint: If you want to see a list of allocated tensors\n"
)
OF_A_LOST_WORKER = [
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
]


def raised_from(error, strategy="multi_worker", workers=2):
    """What comes out of a training in which an error is raised."""
    with (
        pytest.raises((tf.errors.OpError, CtnetError)) as out,
        run._explaining_lost_devices(strategy, workers),
    ):
        raise error
    return out.value


@pytest.mark.parametrize("kind", OF_A_LOST_WORKER)
def test_whatever_a_collective_operation_raises_of_a_lost_worker_is_one_line(kind):
    told = raised_from(kind(None, None, f"{RESTARTED}\n"))
    assert type(told) is CtnetError
    assert str(told) == (
        f"train.strategy: multi_worker: a worker is gone ({RESTARTED}); start all of them again: "
        "training goes on from the last finished epoch"
    )


def test_a_failure_that_names_no_worker_is_said_to_seem_one_with_its_own_words():
    told = raised_from(tf.errors.InternalError(None, None, "cuDNN launch failure"))
    assert type(told) is CtnetError
    assert "a worker seems to be gone (cuDNN launch failure)" in str(told)


@pytest.mark.parametrize("strategy", ["single", "mirrored", "multi_worker"])
@pytest.mark.parametrize("kind", OF_A_LOST_WORKER)
def test_a_worker_alone_has_lost_none(kind, strategy):
    error = kind(None, None, "a failure of this machine")
    assert raised_from(error, strategy, workers=1) is error


def test_a_tpu_that_does_not_answer_any_more_is_told_of_too():
    told = raised_from(tf.errors.UnavailableError(None, None, "Socket closed"), "tpu", 1)
    assert "train.strategy: tpu: a worker is gone (Socket closed)" in str(told)


@pytest.mark.parametrize(("strategy", "workers"), [("single", 1), ("multi_worker", 2)])
def test_memory_that_ran_out_is_one_line_that_says_what_to_lower(strategy, workers):
    error = tf.errors.ResourceExhaustedError(None, None, OUT_OF_MEMORY)
    told = raised_from(error, strategy, workers)
    assert type(told) is CtnetError
    assert str(told) == (
        "memory ran out in training (OOM when allocating tensor with shape[64,224] and type float "
        "on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc); lower "
        "train.batch_size or transform.image_size"
    )


@pytest.mark.parametrize("symptom", ["No space left on device", "Too many open files"])
def test_other_resources_that_ran_out_are_not_called_memory(symptom):
    error = tf.errors.ResourceExhaustedError(None, None, f"/work/x; {symptom}")
    assert raised_from(error) is error


@pytest.mark.parametrize("error", [StorageError("full"), BadDataError("diverged")])
def test_what_is_explained_already_is_left_alone(error):
    assert raised_from(error) is error


@pytest.mark.parametrize(
    "kind", [tf.errors.FailedPreconditionError, tf.errors.ResourceExhaustedError]
)
def test_a_disk_that_failed_while_workers_save_is_not_called_a_lost_worker(kind):
    with (
        pytest.raises(StorageError, match=r"written to /work/checkpoints \(/work/x; no\)"),
        run._explaining_lost_devices("multi_worker", 2),
        explaining_failures("the state of training", "/work/checkpoints"),
    ):
        raise kind(None, None, "/work/x; no")


def test_a_worker_lost_while_workers_save_is_not_blamed_on_the_disk():
    with (
        pytest.raises(CtnetError, match="a worker is gone") as told,
        run._explaining_lost_devices("multi_worker", 2),
        explaining_failures("the state of training", "/work/checkpoints"),
    ):
        raise tf.errors.FailedPreconditionError(None, None, RESTARTED)
    assert type(told.value) is CtnetError
