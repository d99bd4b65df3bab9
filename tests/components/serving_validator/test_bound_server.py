"""A candidate's server does not start for a step that is gone; tests/e2e kills one that has."""

import os
import subprocess
import sys

import pytest

from components.serving_validator import bound_server


@pytest.mark.skipif(os.getpid() == 1, reason="is the process that was to be gone")
def test_a_server_whose_step_is_gone_already_does_not_start(tmp_path):
    command = [sys.executable, "-m", bound_server.__name__, "1", tmp_path, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    # The server itself would say that there is no model.
    assert (done.stdout, done.stderr) == ("", "")
