"""One run at a time in a folder."""

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from pipeline.run_folder.folder_lock import alone_in
from pipeline.run_folder.workdir import open_workdir
from transform.errors import ConfigError

HOLD = """
import sys
from pathlib import Path
from pipeline.run_folder.folder_lock import alone_in
from pipeline.run_folder.workdir import open_workdir
with alone_in(open_workdir(Path(sys.argv[1])), work="ctnet retrain"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def workdir(tmp_path):
    return open_workdir(tmp_path / "work")


@pytest.fixture
def holder(workdir):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, workdir.root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    process.stdin.close()


def test_who_comes_second_is_told_who_was_first(workdir, holder):
    with pytest.raises(ConfigError) as refused, alone_in(workdir):
        pass
    line = str(refused.value)
    assert f"ctnet retrain (process {holder.pid} on {socket.gethostname()}, since 20" in line
    assert "--workdir" in line


def test_the_lock_of_a_killed_holder_is_free_though_its_name_is_still_there(workdir, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert str(holder.pid) in (workdir.root / ".lock").read_text()
    with alone_in(workdir):
        assert str(os.getpid()) in (workdir.root / ".lock").read_text()
    assert (workdir.root / ".lock").read_text() == ""


def test_who_waits_says_so_once_and_goes_on_when_it_is_free(workdir, holder):
    told = []

    def tell(line):
        told.append(line)
        threading.Thread(target=holder.stdin.close).start()

    with alone_in(workdir, wait=60.0, tell=tell):
        pass
    (line,) = told
    assert f"process {holder.pid}" in line


def test_waiting_ends(workdir, holder):
    refused = pytest.raises(ConfigError, match=r"still, after 0\.01 minutes")
    with refused, alone_in(workdir, wait=0.6):
        pass


def test_an_error_within_frees_the_lock(workdir):
    with pytest.raises(KeyError), alone_in(workdir):
        raise KeyError
    with alone_in(workdir):
        pass
