"""Lost metadata comes back from its copy, or the run stops before anything is overwritten."""

import contextlib
import datetime
import sqlite3

import pytest

from pipeline.run_folder.metadata_backup import back_up_metadata, ensure_metadata
from pipeline.run_folder.outputs import open_store
from transform.errors import ConfigError


def executions(workdir):
    return [one.id for one in open_store(workdir).get_executions()]


@pytest.fixture
def workdir(past):
    """The folder of one run, with a copy of its metadata."""
    past.run("2026-01-01T10:00:00")
    # The folders of artifacts have execution ids for names.
    for number in executions(past.workdir):
        (past.workdir.artifacts / "Trainer" / "model" / str(number)).mkdir(exist_ok=True)
    del past.store
    back_up_metadata(past.workdir)
    return past.workdir


def test_sound_metadata_is_left_alone(workdir):
    before = workdir.metadata.read_bytes()
    assert ensure_metadata(workdir) is None
    assert workdir.metadata.read_bytes() == before
    assert not list(workdir.root.glob("*damaged*"))


def test_a_folder_without_a_run_needs_no_metadata(past):
    past.workdir.metadata.unlink()
    past.workdir.artifacts.mkdir()
    assert ensure_metadata(past.workdir) is None
    assert not past.workdir.metadata.exists()


def test_a_store_that_the_first_run_was_killed_over_is_begun_anew(past):
    past.workdir.metadata.write_bytes(b"")
    assert ensure_metadata(past.workdir) is None
    assert not past.workdir.metadata.exists()


def test_lost_metadata_is_what_the_copy_has(workdir):
    before = executions(workdir)
    workdir.metadata.unlink()
    restored = ensure_metadata(workdir)
    assert restored.why == "missing"
    assert restored.damaged is None
    assert "restored from its copy of 20" in str(restored)
    assert executions(workdir) == before


@pytest.mark.parametrize(
    "content", [b"", b"no database" * 500, None], ids=["empty", "garbage", "cut off"]
)
def test_damaged_metadata_is_kept_aside(workdir, content):
    before = executions(workdir)
    damaged = workdir.metadata.read_bytes()[:40_000] if content is None else content
    workdir.metadata.write_bytes(damaged)
    journal = workdir.root / "metadata.sqlite-journal"
    journal.write_bytes(b"of another file")
    restored = ensure_metadata(workdir)
    assert restored.damaged.read_bytes() == damaged
    assert restored.damaged.name in str(restored)
    assert not journal.exists()
    assert executions(workdir) == before


def test_a_database_of_something_else_is_no_metadata(workdir):
    workdir.metadata.unlink()
    with contextlib.closing(sqlite3.connect(workdir.metadata)) as other:
        other.executescript("CREATE TABLE patients (name);")
    assert ensure_metadata(workdir).why == "no store of ML Metadata"


def test_executions_after_an_old_copy_write_no_folder_that_is_there(workdir):
    later = max(executions(workdir)) + 20
    (workdir.artifacts / "Transform" / "graph" / str(later)).mkdir(parents=True)
    workdir.metadata.unlink()
    ensure_metadata(workdir)
    store = open_store(workdir)
    (one,) = store.get_executions_by_id([executions(workdir)[0]])
    one.ClearField("id")
    (number,) = store.put_executions([one])
    assert number > later


def test_an_own_copy_put_in_place_by_hand_is_counted_on_as_well(workdir):
    later = max(executions(workdir)) + 20
    (workdir.artifacts / "Transform" / "graph" / str(later)).mkdir(parents=True)
    assert ensure_metadata(workdir) is None
    with contextlib.closing(sqlite3.connect(workdir.metadata)) as store:
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'Execution'"
        assert store.execute(query).fetchone() == (later,)


@pytest.mark.parametrize("copy", [None, b"", b"garbage" * 999], ids=["no copy", "empty", "garbage"])
def test_metadata_lost_with_its_copy_is_one_line_and_changes_nothing(workdir, copy):
    workdir.metadata.write_bytes(b"garbage" * 999)
    workdir.metadata_backup.unlink()
    if copy is not None:
        workdir.metadata_backup.write_bytes(copy)
    with pytest.raises(ConfigError, match=r"metadata\.sqlite: damaged .* is .*begin anew") as said:
        ensure_metadata(workdir)
    assert "\n" not in str(said.value)
    assert workdir.metadata.read_bytes() == b"garbage" * 999


def test_metadata_that_another_program_has_locked_is_one_line(workdir, monkeypatch):
    monkeypatch.setattr("pipeline.run_folder.metadata_backup._LOCK_SECONDS", 0.1)
    with contextlib.closing(sqlite3.connect(workdir.metadata, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match="database is locked"):
            ensure_metadata(workdir)
    assert ensure_metadata(workdir) is None


def test_a_copy_that_fails_leaves_the_one_before(workdir):
    before = workdir.metadata_backup.read_bytes()
    workdir.metadata.write_bytes(b"garbage" * 999)
    with pytest.raises(sqlite3.DatabaseError):
        back_up_metadata(workdir)
    assert workdir.metadata_backup.read_bytes() == before
    assert not list(workdir.root.glob("*.unfinished*"))


def test_what_a_killed_copy_left_is_in_nobody_s_way(workdir):
    for end in ("", "-journal"):
        (workdir.root / f"metadata.backup.unfinished{end}").write_bytes(b"half")
    before = executions(workdir)
    back_up_metadata(workdir)
    workdir.metadata.unlink()
    restored = ensure_metadata(workdir)
    assert datetime.datetime.now() - restored.copied < datetime.timedelta(minutes=5)
    assert executions(workdir) == before
