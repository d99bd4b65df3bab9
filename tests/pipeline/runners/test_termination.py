"""SIGTERM: a command ends in one line and lets go of what it holds."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline import run as run_module
from pipeline.config import parse_config
from pipeline.run import RunRequest
from pipeline.run_folder.folder_lock import alone_in
from pipeline.run_folder.workdir import open_workdir
from pipeline.runners.termination import Terminated, raising_on_sigterm
from pipeline.summary import Verdict, read_summary
from pipeline.terminal import RunDisplay

ROOT = Path(__file__).resolve().parents[3]


def terminate_this_process():
    os.kill(os.getpid(), signal.SIGTERM)
    # Handlers are called between two instructions.
    threading.Event().wait(60)


def test_sigterm_is_raised_and_the_default_comes_back():
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(Terminated), raising_on_sigterm():
        terminate_this_process()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_commands_own_stays():
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(True))
    try:
        with raising_on_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
        assert came == [True]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("ended_by", [Terminated, KeyboardInterrupt])
def test_a_run_that_is_ended_from_outside_says_so_in_its_summary(tmp_path, monkeypatch, ended_by):
    def end(*_):
        raise ended_by

    monkeypatch.setattr(run_module, "_execute", end)
    request = RunRequest(parse_config({}), tmp_path / "manifest.csv", tmp_path / "work")
    with pytest.raises(ended_by):
        run_module.run(request, RunDisplay())
    summary = read_summary(tmp_path / "work/summary.json")
    assert summary.verdict is Verdict.FAILED
    assert "goes on from the finished steps" in summary.error


def test_a_waiting_retraining_ends_with_143_and_one_line(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text("name: tiny\nmodel: {backbone: tiny, weights: none}\n")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label,patient_id\n")
    command = ("retrain", "--config", config, "--data", manifest, "--workdir", tmp_path / "work")
    with alone_in(open_workdir(tmp_path / "work"), work="a test"):
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *map(str, command), "--wait", "600"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            said = iter(process.stderr.readline, "")
            assert any("waiting for it" in line for line in said)
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, rest) == (143, "ctnet: ended by SIGTERM\n")
