import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.client import Client

ROOT = Path(__file__).resolve().parents[2]


def serve(*arguments):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    return subprocess.Popen(
        [sys.executable, "-m", "serving", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def processes(server, model_dir, tmp_path_factory):
    """A server, one without a model and one on a taken port, started together to save time."""
    taken = server.address.rsplit(":", 1)[1]
    started = {
        "good": serve(model_dir, "--port", 0, "--no-rest"),
        "no_model": serve(tmp_path_factory.mktemp("empty"), "--port", 0),
        "taken_port": serve(model_dir, "--port", taken),
    }
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_process_says_in_one_line_that_it_serves_and_drains_on_sigterm(processes, picture):
    process = processes["good"]
    line = process.stdout.readline()
    found = re.fullmatch(r"serving ctnet version 10 at (127\.0\.0\.1:\d+)\n", line)
    assert found, (line, process.stderr.read() if process.poll() is not None else "")
    with Client(found[1]) as client:
        assert client.predict_pictures([picture(255)])[0].decision == 1
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == ""
    # TensorFlow calls it an error that a machine has no GPU.
    (line,) = (line for line in err.splitlines() if "cuInit" not in line)
    assert re.search(r" version 11 is not served: .*/11 has no saved_model\.pb yet$", line)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("no_model", "no whole model version"), ("taken_port", "already in use")],
)
def test_what_a_user_can_cause_ends_in_one_line_and_exit_code_2(processes, name, complaint):
    out, err = processes[name].communicate(timeout=60)
    assert processes[name].returncode == 2
    assert out == ""
    assert re.fullmatch(rf"error: .*{complaint}.*\n", err)
