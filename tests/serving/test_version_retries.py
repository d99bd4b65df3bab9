"""A version that could not be loaded is tried again, with growing pauses."""

import logging

import pytest

from serving.served_models import ServedModels
from serving.version_watcher import VersionWatcher
from transform.errors import ConfigError


class Loaded:
    def __init__(self, version):
        self.version = version


class Watch:
    """A watcher whose clock stands still, and a loader that fails until it is repaired."""

    def __init__(self, folder):
        self.now = 0.0
        self.tried = []
        self.error = None
        self.served = ServedModels("ctnet")
        self.watcher = VersionWatcher(folder, self.served, self.load, clock=lambda: self.now)

    def load(self, version):
        self.tried.append((version.number, self.now))
        if self.error is not None:
            raise self.error
        return Loaded(version.number)

    def poll_at(self, *times):
        for self.now in times:
            self.watcher.poll()


def push(folder, number):
    (folder / str(number)).mkdir(parents=True)
    (folder / str(number) / "saved_model.pb").write_bytes(b"graph")


@pytest.fixture
def watch(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="serving")
    push(tmp_path, 1)
    made = Watch(tmp_path)
    made.watcher.load_first()
    assert made.served.version == 1
    made.tried.clear()
    push(tmp_path, 2)
    return made


REASONS = [
    ConfigError("the disk is away: push it again"),
    MemoryError("no room"),
    OSError(116, "x"),
]


@pytest.mark.parametrize("error", REASONS, ids=lambda error: type(error).__name__)
def test_a_failed_load_is_tried_again_after_growing_pauses_and_logged_once(watch, error, caplog):
    watch.error = error
    watch.poll_at(*(tenth / 10 for tenth in range(200)))
    assert watch.tried == [(2, 0.0), (2, 1.0), (2, 3.0), (2, 7.0), (2, 15.0)]
    assert watch.served.version == 1
    (record,) = caplog.records
    assert "version 1 goes on" in record.getMessage()
    assert "\n" not in record.getMessage()
    watch.error = None
    watch.poll_at(30.9, 31.0)
    assert watch.served.version == 2


def test_the_pauses_grow_to_ten_minutes(watch):
    watch.error = ConfigError("the disk is away: push it again")
    watch.poll_at(0.0)
    due = 0.0
    for pause in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600):
        before = len(watch.tried)
        due += pause
        watch.poll_at(due - 0.5)
        assert len(watch.tried) == before
        watch.poll_at(due)
        assert watch.tried[before:] == [(2, due)]


def test_files_that_changed_are_tried_as_soon_as_they_rest(watch, tmp_path):
    watch.error = ConfigError("damaged: push it again")
    watch.poll_at(0.0, 1.0, 3.0)
    (tmp_path / "2" / "saved_model.pb").write_bytes(b"another graph")
    watch.poll_at(3.1)
    assert len(watch.tried) == 3
    watch.poll_at(3.2)
    assert len(watch.tried) == 4
    # New files have pauses of their own.
    watch.poll_at(4.1, 4.2)
    assert watch.tried[3:] == [(2, 3.2), (2, 4.2)]


def test_files_that_are_being_written_are_not_tried_when_a_pause_ends(watch, tmp_path):
    watch.error = ConfigError("damaged: push it again")
    watch.poll_at(0.0)
    for turn in range(1, 5):
        (tmp_path / "2" / "saved_model.pb").write_bytes(b"graph" * (1 + turn))
        watch.poll_at(turn)
    assert len(watch.tried) == 1


def test_every_reason_is_logged_once(watch, caplog):
    for now, text in [(0, "one"), (1, "two"), (3, "one"), (7, "two")]:
        watch.error = ConfigError(f"{text}: push it again")
        watch.poll_at(now)
    assert len(watch.tried) == 4
    assert [record.getMessage()[:3] for record in caplog.records] == ["one", "two"]


def test_a_server_that_cannot_load_its_first_version_says_why(tmp_path):
    push(tmp_path, 1)
    watch = Watch(tmp_path)
    watch.error = MemoryError("no room")
    with pytest.raises(ConfigError, match=r"cannot load the model version .*1 \(no room\)"):
        watch.watcher.load_first()
