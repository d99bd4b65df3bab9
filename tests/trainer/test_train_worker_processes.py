"""`ctnet train-worker` as two processes of one machine."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from transform.ct_example import EVAL, TRAIN
from transform.training_record import read_record

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 240
CONFIG = """
name: tiny
transform: {image_size: 32}
model: {backbone: tiny, weights: none, dropout: 0.0}
train:
  {epochs: 1, head_epochs: 0, early_stopping: 0, batch_size: 4, augmentation: {flip: true}}
"""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def home(study, tmp_path_factory):
    """A configuration, and what Transform left under the names that TFX gives it."""
    folder = tmp_path_factory.mktemp("workers")
    (folder / "tiny.yaml").write_text(CONFIG)
    (folder / "examples").mkdir()
    for split in (TRAIN, EVAL):
        (folder / "examples" / f"Split-{split}").symlink_to(study.folder / split)
    return folder


@pytest.fixture(scope="module")
def start(home, study):
    """`start(out, [options of worker 0], [of worker 1])`: two running workers."""

    def begin(out, *of_workers):
        addresses = ",".join(f"localhost:{port}" for port in free_ports(len(of_workers)))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("TF_CONFIG", None)
        command = [
            *(sys.executable, "-m", "pipeline.cli", "train-worker", "--json"),
            *("--config", home / "tiny.yaml", "--out", home / out),
            *("--examples", home / "examples", "--transform-graph", study.folder),
            *("--workers", addresses),
        ]
        return [
            subprocess.Popen(
                [*map(str, command), "--worker", str(number), *options],
                cwd=home,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, options in enumerate(of_workers)
        ]

    return begin


def end(processes):
    """(exit code, standard output, standard error) of each."""
    ended = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=LIMIT_SECONDS)
            ended.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return ended


@pytest.fixture(scope="module")
def both(start):
    """A training, and side by side one whose workers were told different things."""
    trained = start("trained", [], [])
    disagreeing = start("disagreeing", [], ["--set", "train.learning_rate=0.001"])
    return {"trained": end(trained), "disagreeing": end(disagreeing)}


def test_two_workers_train_one_model_and_the_first_exports_it(both, home):
    (code, out, err), (other_code, other_out, other_err) = both["trained"]
    assert (code, other_code) == (0, 0), err + other_err
    result, other = json.loads(out), json.loads(other_out)
    assert [(one["worker"], one["workers"]) for one in (result, other)] == [(0, 2), (1, 2)]
    assert "worker 1 of 2 waits for the others" in other_err
    assert "fine-tuning epoch 1 of 1: loss" in err
    assert Path(result["model"]) == home / "trained" / "model" / "Format-Serving"
    assert (Path(result["model"]) / "saved_model.pb").exists()
    record = read_record(Path(result["model_run"]))
    assert (record.replicas, record.global_batch_size) == (2, 8)
    # Training is over, and began anew.
    assert record.resumed_from is None
    assert list((home / "trained" / "checkpoints").iterdir()) == []


def test_workers_that_were_told_different_things_all_end_and_say_so(both, home):
    for code, out, err in both["disagreeing"]:
        assert (code, out) == (2, ""), err
        assert "ctnet: worker 1 was given another training than worker 0" in err
    assert not (home / "disagreeing" / "model").exists()
