"""Training over several devices and processes, for real, against training on one."""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from transform.ct_example import EVAL, TRAIN

pytestmark = pytest.mark.slow

PROCESS = Path(__file__).parent / "training_process.py"
ROOT = PROCESS.parents[2]
LIMIT_SECONDS = 240
DRAWN = 8
DIED = 9
# Of one replica.
BATCH = 4
RATE = 2e-3
CONFIG = {
    "seed": 5,
    "hu_min": -1000.0,
    "window": [-1000.0, 400.0],
    "operating_point": "sensitivity",
    "target_sensitivity": 0.9,
    "resamples": 20,
    "tpu": None,
    "mixed_precision": "auto",
    "xla": "auto",
    "batch_size": BATCH,
    "examples_per_class": None,
    "class_weights": True,
    "model": {
        "backbone": "tiny",
        "head": "gap",
        # Replicas drop others, and have batch statistics of their own.
        "dropout": 0.0,
        "batch_norm": "frozen",
        "batch_norm_momentum": None,
        "image_size": 32,
    },
    "fit": {
        "epochs": 3,
        "head_epochs": 1,
        "learning_rate": RATE,
        "head_learning_rate": RATE,
        "optimizer": "adamw",
        "weight_decay": 1e-2,
        "schedule": "cosine",
        "warmup_epochs": 0.5,
        "label_smoothing": 0.05,
        "early_stopping": 2,
        "batch_norm": "frozen",
        "layer_decay": 0.8,
        "frozen_stages": 0,
        "weight_average": 0.3,
    },
    "augmentation": {"flip": True, "rotation": 10.0, "shift": 0.1, "brightness": 0.1},
    "flip_average": False,
    "weights": "none",
    "warm_start": False,
    "weights_fingerprint": "none",
    "code_version": "1",
}
# What each replica does in its own way.
OF_REPLICA = {
    "model": {**CONFIG["model"], "dropout": 0.3, "batch_norm": "trainable"},
    # With early stopping it might end with weights of before it was stopped.
    "fit": {
        **CONFIG["fit"],
        "batch_norm": "trainable",
        "head_epochs": 0,
        "epochs": 2,
        "early_stopping": 0,
    },
}
# One replica that takes the steps of two.
AS_TWO = {
    "batch_size": 2 * BATCH,
    "fit": {**CONFIG["fit"], "learning_rate": 2 * RATE, "head_learning_rate": 2 * RATE},
}


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@dataclasses.dataclass
class Worker:
    """One process, with a folder of its own for each thing it could write.

    Attributes:
      process: the running process.
      folder: where it was told to write.
      temporary: its folder for temporary files.
      result: where the test's own file goes.
    """

    process: subprocess.Popen
    folder: Path
    temporary: Path
    result: Path

    def end(self):
        """Wait; its exit code and what it printed."""
        try:
            output, _ = self.process.communicate(timeout=LIMIT_SECONDS)
        finally:
            self.process.kill()
        return self.process.returncode, output

    def outcome(self):
        code, output = self.end()
        assert code == 0, output[-3000:]
        return json.loads(self.result.read_text())


def start(
    study,
    home,
    strategy,
    *,
    cpus=1,
    cluster=None,
    task=0,
    checkpoints=None,
    dies=None,
    exports=True,
    **config,
):
    """Start one process of a training; without exports it ends when the network is fitted."""
    folder, temporary = home / "told", home / "temporary"
    folder.mkdir(parents=True)
    temporary.mkdir()
    job = {
        "cpus": cpus,
        "dies_after": dies,
        "exports": exports,
        "result": str(home / "result.json"),
        "fn_args": {
            "train_files": study.patterns[TRAIN],
            "eval_files": study.patterns[EVAL],
            "transform_output": str(study.folder),
            "serving_model_dir": str(folder / "model" / "Format-Serving"),
            "model_run_dir": str(folder / "run"),
            "custom_config": {
                **CONFIG,
                "strategy": strategy,
                "checkpoints": str(checkpoints or folder / "checkpoints"),
                **config,
            },
        },
    }
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(temporary),
        "TF_CPP_MIN_LOG_LEVEL": "1",
    }
    environment.pop("TF_CONFIG", None)
    if cluster:
        environment["TF_CONFIG"] = json.dumps(
            {
                "cluster": {"worker": [f"localhost:{port}" for port in cluster]},
                "task": {"type": "worker", "index": task},
            }
        )
    process = subprocess.Popen(
        [sys.executable, str(PROCESS), json.dumps(job)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Worker(process, folder, temporary, home / "result.json")


def start_two_workers(study, home, *, second_dies=None, **config):
    ports = free_ports(2)
    return [
        start(
            study, home / str(task), "multi_worker", cluster=ports, task=task, dies=dies, **config
        )
        for task, dies in enumerate((None, second_dies))
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("strategies")


@pytest.fixture(scope="module")
def started(study, home):
    """Side by side, because most of their time is one Python thread's."""
    return {
        "single": [start(study, home / "single", "single", **AS_TWO)],
        "drawn": [start(study, home / "drawn", "single", examples_per_class=DRAWN, **AS_TWO)],
        "mirrored": [start(study, home / "mirrored", "mirrored", cpus=2, examples_per_class=DRAWN)],
        "workers": start_two_workers(study, home / "workers"),
    }


@pytest.fixture(scope="module")
def outcomes(started):
    """What each training ended with, by name, one outcome a process."""
    return {name: [one.outcome() for one in processes] for name, processes in started.items()}


@pytest.fixture(scope="module")
def single(outcomes):
    """One replica that takes whole global batches."""
    return outcomes["single"][0]


@pytest.fixture(scope="module")
def of_workers(outcomes):
    return outcomes["workers"]


def assert_same_training(found, wanted):
    """Equal to what float32 sums in another order leave."""
    for one, other in zip(found["weights"], wanted["weights"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert len(found["metrics"]) == len(wanted["metrics"])
    for one, other in zip(found["metrics"], wanted["metrics"], strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_two_mirrored_devices_train_as_one_does_on_the_same_batches(outcomes):
    """Here drawing from each class, below every slice once."""
    (wanted,), (mirrored,) = outcomes["drawn"], outcomes["mirrored"]
    assert (wanted["replicas"], mirrored["replicas"]) == (1, 2)
    assert [len(epoch) for epoch in wanted["parsed"]] == [2 * DRAWN] * 4
    assert_same_training(mirrored, wanted)


def test_two_workers_train_as_one_does_on_the_same_batches(of_workers, single):
    for worker in of_workers:
        assert worker["replicas"] == 2
        assert_same_training(worker, single)


def test_training_changes_the_weights_that_are_compared(single):
    """Otherwise the comparisons above would say nothing."""
    assert len(single["metrics"]) == 4
    losses = [one["loss"] for one in single["metrics"]]
    assert max(losses) - min(losses) > 1e-3


def test_both_workers_see_the_same_validation_figures_of_the_whole_split(of_workers):
    """So that early stopping stops both."""
    first, second = (
        [{name: one[name] for name in one if name.startswith("val_")} for one in worker["metrics"]]
        for worker in of_workers
    )
    assert first == second


def test_a_slice_is_parsed_by_one_worker_alone(of_workers, single):
    first, second = (worker["parsed"] for worker in of_workers)
    # Two steps of eight; four of the 20 slices are too few for another.
    assert [len(epoch) for epoch in single["parsed"]] == [16] * 4
    for one, other, both in zip(first, second, single["parsed"], strict=True):
        assert not set(one) & set(other)
        assert sorted(one + other) == both


def test_only_the_chief_leaves_files(started, of_workers):
    workers = started["workers"]
    assert len(workers) == len(of_workers) == 2
    chief, other = (
        {
            path.relative_to(worker.folder).parts[0]
            for path in worker.folder.rglob("*")
            if path.is_file()
        }
        for worker in workers
    )
    assert chief == {"model", "run"}
    assert other == set()
    for worker in workers:
        assert list(worker.temporary.iterdir()) == []


def test_a_cpu_gets_neither_16_bits_nor_xla(outcomes):
    for outcome in (one for several in outcomes.values() for one in several):
        assert (outcome["precision"], outcome["jit_compile"]) == ("float32", False)


def test_a_worker_that_dies_ends_the_other_and_both_go_on_when_started_again(
    study, home, of_workers
):
    checkpoints = home / "checkpoints"
    first, second = start_two_workers(
        study, home / "before", checkpoints=checkpoints, second_dies=2
    )
    assert second.end()[0] == DIED
    code, output = first.end()
    assert code == 1
    assert "a worker is gone" in output
    again = start_two_workers(study, home / "after", checkpoints=checkpoints)
    for found, wanted in zip([one.outcome() for one in again], of_workers, strict=True):
        assert len(found["parsed"]) < len(wanted["parsed"])
        assert found["weights"] == wanted["weights"]


def test_mirrored_devices_that_die_go_on_with_batch_norm_and_dropout(study, tmp_path):
    def begin(name, **options):
        return start(
            study, tmp_path / name, "mirrored", cpus=2, exports=False, **OF_REPLICA, **options
        )

    uninterrupted = begin("uninterrupted")
    died = begin("died", checkpoints=tmp_path / "checkpoints", dies=1)
    assert died.end()[0] == DIED
    found = begin("again", checkpoints=tmp_path / "checkpoints").outcome()
    wanted = uninterrupted.outcome()
    assert wanted["replicas"] == 2
    # The second epoch alone was left.
    assert (len(wanted["parsed"]), len(found["parsed"])) == (2, 1)
    assert all(np.isfinite(one).all() for one in wanted["weights"])
    assert found["weights"] == wanted["weights"]
    assert found["metrics"] == wanted["metrics"]
