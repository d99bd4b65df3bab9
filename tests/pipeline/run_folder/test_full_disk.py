"""A full disk is one line that names the place, whichever library found out."""

import errno
import json
import os
import sqlite3
import subprocess
import sys

import pytest

from pipeline.run_folder.full_disk import describe_full_disk, places_in


def raised_by_a_full_device():
    try:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"more")
    except OSError as error:
        return error
    raise AssertionError("/dev/full took what was written")


def test_the_place_of_the_work_is_named_where_the_error_names_none(tmp_path):
    error = raised_by_a_full_device()
    assert error.filename is None
    line = describe_full_disk(error, [tmp_path])
    assert line.startswith("no space left: ")
    assert str(tmp_path) in line
    assert line.endswith(": free some and run again")


@pytest.mark.parametrize(
    ("code", "begins"),
    [
        (errno.ENOSPC, "no space left: /data/x.png: free some"),
        (errno.EDQUOT, "the disk quota is used up: /data/x.png: free some"),
        (errno.EROFS, "a read-only file system: /data/x.png: make it writable"),
    ],
)
def test_the_file_that_the_error_names_is_named(code, begins):
    line = describe_full_disk(OSError(code, os.strerror(code), "/data/x.png"))
    assert line.startswith(begins)


def test_causes_are_looked_at_too(tmp_path):
    file = tmp_path / "epoch.index"
    error = RuntimeError("Trainer failed")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device", str(file))
    assert str(file) in describe_full_disk(error)


def test_text_is_enough_and_its_file_is_found(tmp_path):
    text = (
        "With tag (7FE0,0010) got exception: [Errno 28] No space left on device\nTraceback (most "
        'recent call last):\n  File "/usr/lib/python3/site-packages/pydicom/tag.py", line 38'
    )
    line = describe_full_disk(OSError(text), [tmp_path])
    assert line.startswith("no space left: ")
    assert "\n" not in line
    assert "tag.py" not in line
    named = describe_full_disk(RuntimeError(f"{tmp_path}/events.out; No space left on device"))
    assert named == f"no space left: {tmp_path}/events.out: free some and run again"


def test_a_file_that_a_long_text_happens_to_name_is_not_taken_for_the_full_one(tmp_path):
    other = tmp_path / "patient.key"
    text = f"Cannot put {{'key_file': '{other}', {'x' * 500}}}\nerror: database or disk is full"
    assert "patient.key" not in describe_full_disk(RuntimeError(text), [tmp_path])


def test_a_database_that_cannot_grow_is_a_full_disk(tmp_path):
    store = sqlite3.connect(tmp_path / "full.sqlite")
    store.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as full:
        store.executescript("CREATE TABLE a (b); CREATE TABLE c (d); CREATE TABLE e (f);")
    store.close()
    assert describe_full_disk(full.value, [tmp_path]).startswith("no space left: ")


def test_the_places_of_a_command_line_are_the_paths_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    found = places_in(["run", "--data", "a/b.csv", "--workdir=/work/x", "here", "--json"])
    assert [str(one) for one in found] == ["a/b.csv", "/work/x", "here"]


def test_other_errors_are_left_alone():
    assert describe_full_disk(OSError(errno.EACCES, "Permission denied", "/data/x.png")) is None
    assert describe_full_disk(ValueError("no space left for another opinion")) is None


def test_an_error_that_causes_itself_comes_to_an_end():
    first, second = RuntimeError("one"), RuntimeError("other")
    first.__cause__, second.__cause__ = second, first
    assert describe_full_disk(first) is None


def test_a_command_ends_in_that_line(monkeypatch, ctnet_main, tmp_path):
    def write_cohort(*_, **__):
        raise raised_by_a_full_device()

    monkeypatch.setattr("transform.phantom.write_cohort", write_cohort)
    code, _, said = ctnet_main("phantom", tmp_path)
    assert code == 1
    # The bar of the phantoms that were to be drawn stands before it.
    *_, line = said.splitlines()
    assert line.startswith("ctnet: no space left: ")
    assert "Traceback" not in said


@pytest.mark.parametrize("full", [True, False])
def test_a_run_whose_trainer_cannot_write_exits_with_1_and_one_line(
    monkeypatch, ctnet_main, tmp_path, full
):
    """As a scheduler sees it: 2 would tell it that the configuration is wrong."""
    from pipeline.runners import local_runner
    from transform.whole_file import explaining_failures

    folder = tmp_path / "work" / "pipeline" / "Trainer"

    def train(*_):
        refused = raised_by_a_full_device() if full else PermissionError(13, "Permission denied")
        with explaining_failures("the state of training", str(folder)):
            raise refused

    def run_pipeline(_, listener):
        listener.begun("Trainer", 1, 1)
        try:
            train()
        except Exception as error:
            raise local_runner.FailedStepError("Trainer") from error

    monkeypatch.setattr(local_runner, "run_pipeline", run_pipeline)
    config = tmp_path / "run.yaml"
    config.write_text("name: tiny\nmodel: {backbone: tiny, weights: none}\n")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label,patient_id\na.png,1,a\n")
    code, _, said = ctnet_main(
        "run", "--config", config, "--data", manifest, "--workdir", tmp_path / "work", "--json"
    )
    assert code == 1
    (line,) = (one for one in said.splitlines() if one.startswith("ctnet: "))
    wanted = "no space left: " if full else f"the state of training cannot be written to {folder}"
    assert wanted in line
    assert str(tmp_path / "work") in line
    assert json.loads((tmp_path / "work" / "summary.json").read_text())["verdict"] == "failed"


def test_what_a_full_log_did_not_take_stays_off_the_terminal():
    program = """if True:
        import sys
        from pipeline.run_folder.run_log import output_to
        with output_to("/dev/full") as (out, err):
            print("to the log", end="")
            print("to the user", file=out)
        print("afterwards")
        print("errors, too", file=sys.stderr)
    """
    # Unbuffered, nothing is left that could come out later.
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout == "to the user\nafterwards\n"
    assert done.stderr == "errors, too\n"
