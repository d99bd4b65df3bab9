"""Training that is killed goes on, and ends where it would have ended."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("stoppable_training.py")
STEPS_AN_EPOCH = 4


def train(folder, name, steps_to_live=0):
    """Its exit code, what it said, and its result."""
    result = folder / "result.json"
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), str(result), str(folder / name), str(steps_to_live)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        check=False,
    )
    facts = json.loads(result.read_text()) if result.exists() else None
    return ended.returncode, ended.stdout.splitlines(), facts or ended.stderr


@pytest.mark.slow
def test_training_killed_twice_ends_like_training_that_was_not(tmp_path):
    """In the head's second epoch, then in the second of fine-tuning; with dropout, stochastic
    depth, layer-wise rates, a running average, early stopping and class weights."""
    killed, said, _ = train(tmp_path, "killed", STEPS_AN_EPOCH + 2)
    assert (killed, said) == (-signal.SIGKILL, ["finished head 1"])
    killed, said, _ = train(tmp_path, "killed", 2 * STEPS_AN_EPOCH + 3)
    assert killed == -signal.SIGKILL
    assert said == ["goes on at head 2", "finished head 2", "finished fine-tuning 1"]
    ended, said, resumed = train(tmp_path, "killed")
    assert ended == 0, resumed
    assert said[0] == "goes on at fine-tuning 2"
    ended, said, uninterrupted = train(tmp_path, "uninterrupted")
    assert ended == 0, uninterrupted
    assert len(said) == len(uninterrupted["records"]) == 5
    assert resumed == uninterrupted
    # Killed after its last epoch, while the model was exported, say: nothing is left to do.
    ended, said, again = train(tmp_path, "killed")
    assert (ended, said) == (0, [])
    assert again == uninterrupted
