"""The training benchmark, at sizes that say nothing of speed."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_it_sets_memory_and_speed_against_their_baselines():
    sizes = {"size": 64, "batch": 4, "steps": 2, "repeats": 1}
    of_memory = {"memory-size": 32, "few": 16, "many": 32}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.train", "--json"),
            *(f"--{name}={value}" for name, value in (sizes | of_memory).items()),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    measured = json.loads(done.stdout.splitlines()[-1])
    assert set(measured["ratios"]) == {"trainer_loop_vs_bare_fit", "peak_memory_many_vs_few"}
    assert all(value > 0 for value in measured["ratios"].values())
    assert set(measured["peak_mib"]) == {"16", "32"}
    assert {len(found) for found in measured["slices_per_second"].values()} == {1}
