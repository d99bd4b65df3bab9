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

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[2]
KILLED_IN_EXPORT = Path(__file__).parent / "worker_killed_in_export.py"
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
    """`start(out, [options of worker 0], [of worker 1])`: two running workers; None is left out."""

    def begin(out, *of_workers, killed_in_export=False):
        addresses = ",".join(f"localhost:{port}" for port in free_ports(len(of_workers)))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("TF_CONFIG", None)
        program = [KILLED_IN_EXPORT] if killed_in_export else ["-m", "pipeline.cli"]
        command = [
            *(sys.executable, *program, "train-worker", "--json"),
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
            if options is not None
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


def test_a_first_worker_that_dies_in_its_export_exports_without_the_others(both, home, start):
    before = end(start("killed", [], [], killed_in_export=True))
    assert [code for code, _, _ in before] == [9, 0], before
    model, model_run = home / "killed/model/Format-Serving", home / "killed/model_run"
    assert (model / "saved_model.pb").exists()
    assert not (model_run / "training.json").exists()
    (model / "half").write_text("an export")
    # The other one, started again, would wait for the first for ever.
    ((code, out, err),) = end(start("killed", [], None))
    assert code == 0, err
    assert json.loads(out)["model"] == str(model)
    assert not (model / "half").exists()
    assert list((home / "killed" / "checkpoints").iterdir()) == []
    record, whole = read_record(model_run), read_record(home / "trained" / "model_run")
    assert record.validation == pytest.approx(whole.validation, abs=1e-5)
    assert [epoch.metrics for epoch in record.epochs] == [
        pytest.approx(epoch.metrics, abs=1e-5) for epoch in whole.epochs
    ]
    assert (record.replicas, record.global_batch_size, record.learning_rate) == (
        whole.replicas,
        whole.global_batch_size,
        whole.learning_rate,
    )
    # Who is started again after that has nothing to do.
    written = (model / "saved_model.pb").stat().st_mtime_ns
    for code, out, err in end(start("killed", [], [])):
        assert code == 0, err
        assert json.loads(out)["before"]
    assert (model / "saved_model.pb").stat().st_mtime_ns == written
