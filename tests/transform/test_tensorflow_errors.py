"""What TensorFlow's errors are about, and their words in one line."""

import pytest
import tensorflow as tf

from transform.tensorflow_errors import is_about_memory, is_about_peer, said_by

OUT_OF_MEMORY = (
    "OOM when allocating tensor with shape[64] and type float on "
    "/job:localhost/replica:0/task:0/device:CPU:0 by allocator mklcpu"
)
IN_A_GRAPH = (
    "Graph execution error:\n\nDetected at node model/greedy/Fill defined at (most recent call "
    'last):\n  File "fit.py", line 11, in <module>\n\n  File "training.py", line 1804, in fit\n\n'
    f"{OUT_OF_MEMORY}\n\t [[{{{{node model/greedy/Fill}}}}]]\nHint: If you want to see a list of "
    "allocated tensors when OOM happens, add report_tensor_allocations_upon_oom to RunOptions.\n "
    "[Op:__inference_train_function_495]"
)
EAGER = (
    "{{function_node __wrapped__Fill_device_/job:localhost/replica:0/task:0/device:CPU:0}} "
    f"{OUT_OF_MEMORY} [Op:Fill] name: "
)


@pytest.mark.parametrize("message", [IN_A_GRAPH, EAGER], ids=["graph", "eager"])
def test_of_an_allocator_that_has_no_more_its_own_words_are_left(message):
    error = tf.errors.ResourceExhaustedError(None, None, message)
    assert is_about_memory(error)
    assert not is_about_peer(error)
    assert said_by(error) == OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("message", "memory", "peer"),
    [
        ("Out of memory while trying to allocate 4096 bytes.", True, False),
        ("Ran out of memory in memory space hbm.", True, False),
        ("/data/x; Cannot allocate memory", True, False),
        ("/mnt/memory/x.data; No space left on device", False, False),
        ("/data/rooms/x.data; Too many open files", False, False),
        ("Collective ops is aborted by: Socket closed", False, True),
        ("Device 1 current incarnation doesn't match with one in the group.", False, True),
        ("Additional GRPC error information from remote target /job:worker", False, True),
        ("/job:worker/task:1 heartbeat timeout. This indicates that", False, True),
        ("indices[0] = 9 is not in [0, 3)", False, False),
    ],
)
def test_words_tell_what_an_error_is_about(message, memory, peer):
    error = tf.errors.InternalError(None, None, message)
    assert (is_about_memory(error), is_about_peer(error)) == (memory, peer)
    assert said_by(error) == message


def test_a_long_text_is_cut_off():
    said = said_by(tf.errors.InternalError(None, None, "x" * 5000))
    assert len(said) < 1000
    assert said.endswith(" ...")
