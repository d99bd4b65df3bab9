"""What libraries print goes to the run's log, in a process of its own as in a run."""

import subprocess
import sys
import textwrap

import pytest


def run_python(program, folder):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    (folder / "run.log").write_text("of an earlier run\n")
    done = run_python(
        """
        import os, subprocess, sys
        from pipeline.run_folder.run_log import output_to

        print("python before")
        descriptors = len(os.listdir("/proc/self/fd"))
        try:
            with output_to("run.log") as (out, err):
                print("python out")
                print("python err", file=sys.stderr)
                os.write(1, b"C out\\n")
                os.write(2, b"C err\\n")
                subprocess.run(["sh", "-c", "echo child out; echo child err >&2"])
                print("to the user", file=out)
                print("to the user's errors", file=err)
                print("not flushed", end="")
                raise RuntimeError("of the run")
        except RuntimeError as error:
            print("raised", error)
        assert len(os.listdir("/proc/self/fd")) == descriptors
        os.write(1, b"C after\\n")
        print("python err after", file=sys.stderr)
        """,
        folder,
    )
    assert done.returncode == 0, done.stderr
    return done, (folder / "run.log").read_text()


def test_python_c_and_child_processes_write_to_the_log(logged):
    _, log = logged
    for text in ("python out", "python err", "C out", "C err", "child out", "child err"):
        assert f"{text}\n" in log
    assert log.endswith("not flushed")


def test_the_log_of_before_is_kept(logged):
    assert logged[1].startswith("of an earlier run\n")


def test_the_terminal_sees_only_what_it_is_told_and_is_itself_again_after_an_error(logged):
    done, _ = logged
    # Standard output to a pipe is buffered, so that the order among the lines is not kept.
    assert sorted(done.stdout.splitlines()) == [
        "C after",
        "python before",
        "raised of the run",
        "to the user",
    ]
    assert done.stderr.splitlines() == ["to the user's errors", "python err after"]


def test_what_is_hushed_is_gone(tmp_path):
    done = run_python(
        """
        import os
        from pipeline.run_folder.run_log import hushed

        with hushed():
            os.write(1, b"noise\\n")
            os.write(2, b"noise\\n")
        print("done")
        """,
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
