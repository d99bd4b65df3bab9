"""`ctnet run`, killed while it trains, and run again."""

import signal
import subprocess
import sys

import pytest

from transform.training_record import read_record

pytestmark = pytest.mark.e2e

# The command line, in a process that dies as by kill -9 when its second epoch has been trained and
# is not saved yet.
KILLED = """
import os, signal
from trainer.training_checkpoint import TrainingCheckpoints
save = TrainingCheckpoints.save
def die_at_the_second(self, state, *arguments):
    if len(state.records) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, state, *arguments)
TrainingCheckpoints.save = die_at_the_second
from pipeline.cli import main
main()
"""


def test_a_run_killed_in_training_goes_on_and_ends_as_if_nothing_had_happened(
    run_pipeline, tiny_config, mixed_manifest, tmp_path
):
    whole = run_pipeline(mixed_manifest, tmp_path / "whole")
    workdir = tmp_path / "run"
    arguments = ("--config", tiny_config, "--data", mixed_manifest, "--workdir", workdir)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "run", *map(str, arguments)],
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not list((workdir / "serving").glob("*/*"))
    assert not list((workdir / "pipeline" / "Trainer" / "model").glob("*/Format-Serving*"))

    again = run_pipeline(mixed_manifest, workdir)
    assert again.done.code == whole.done.code == 0, again.done.err
    found, wanted = (read_record(one.artifact("Trainer", "model_run")) for one in (again, whole))
    assert (found.resumed_from, wanted.resumed_from) == (1, None)
    assert found.epochs == wanted.epochs
    assert found.operating_point == wanted.operating_point
    assert again.summary["metrics"] == whole.summary["metrics"]
    assert {one["name"]: one["cached"] for one in again.summary["steps"]}["Transform"]
    assert not list((workdir / "pipeline" / "Trainer" / ".checkpoints").iterdir())
