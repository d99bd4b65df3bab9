"""`ctnet rollback`: what is served, and what is remembered of it."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata.proto.metadata_store_pb2 import Execution

from components.baseline.rollback_record import read_rollbacks, rolled_back_from
from pipeline.history.run_history import read_history
from pipeline.retraining.rollback import models_rolled_back_from, roll_back
from transform.errors import ConfigError

WHEN = [f"2025-06-{day:02d}T08:00:00" for day in range(10, 20)]


@pytest.fixture
def pushed(past):
    """`pushed(3)`: runs that pushed versions 11, 12 and 13; gives their models' ids."""

    def push(count):
        return [
            past.run(WHEN[number], version=str(11 + number))[("Trainer", "model")].id
            for number in range(count)
        ]

    return push


def served(past):
    """The number of the newest version, and which model it holds, by its first number."""
    newest = max(past.workdir.serving.iterdir(), key=lambda one: int(one.name))
    return int(newest.name), (newest / "fingerprint.pb").read_text()


def blessed(past):
    """The ids of the models that were blessed, in the order of blessing."""
    found = past.store.get_artifacts_by_type("ModelBlessing")
    return [
        one.custom_properties["current_model_id"].int_value
        for one in sorted(found, key=lambda one: one.id)
        if one.custom_properties["blessed"].int_value == 1
    ]


def test_the_version_before_is_served_again_under_a_new_number(past, pushed):
    first, second = pushed(2)
    result = roll_back(past.workdir.root)
    number, holds = served(past)
    assert (holds, number > 12) == ("11", True)
    assert (result.was.version, result.was.run, result.was.first) == ("12", 2, "12")
    assert (result.served.version, result.served.run, result.served.first) == (str(number), 1, "11")
    assert {"11", "12"} < {one.name for one in past.workdir.serving.iterdir()}
    # What asks for the model that was blessed last finds the one that is served.
    assert blessed(past)[-1] == first
    assert list(rolled_back_from(past.store)) == [second]


@pytest.mark.slow
def test_rolling_back_twice_goes_back_by_two(past, pushed):
    pushed(3)
    roll_back(past.workdir.root)
    roll_back(past.workdir.root)
    assert served(past)[1] == "11"
    with pytest.raises(ConfigError, match="nothing to go back to"):
        roll_back(past.workdir.root)


def test_a_rollback_can_be_undone_and_blames_nobody(past, pushed):
    pushed(2)
    roll_back(past.workdir.root)
    roll_back(past.workdir.root, 12)
    assert served(past)[1] == "12"
    assert rolled_back_from(past.store) == {}
    roll_back(past.workdir.root)
    assert served(past)[1] == "11"


def test_what_is_served_already_is_not_published_again(past, pushed):
    pushed(2)
    roll_back(past.workdir.root, 11)
    before = served(past)
    for number in (11, before[0]):
        assert roll_back(past.workdir.root, number).was is None
    assert served(past) == before
    assert len(read_rollbacks(past.store)) == 1


@pytest.mark.slow
def test_a_model_of_a_later_run_goes_back_to_what_was_served_before_it(past, pushed):
    pushed(3)
    roll_back(past.workdir.root, 11)
    past.run(WHEN[5], version="9999999999")
    roll_back(past.workdir.root)
    assert served(past)[1] == "11"


def test_the_history_says_what_is_served_and_since_when(past, pushed, ctnet_main):
    pushed(2)
    roll_back(past.workdir.root)
    history = read_history(past.workdir.root)
    assert [run.served for run in history.runs] == [True, False]
    code, out, _ = ctnet_main("history", past.workdir.root)
    assert code == 0
    line = f"Served now: version {served(past)[0]}, the model of run 1, by a rollback from"
    assert f"{line} version 12 on 20" in out
    code, out, _ = ctnet_main("history", past.workdir.root, "--last", 1)
    assert "the model of run 1, by a rollback" in out
    code, out, _ = ctnet_main("history", past.workdir.root, "--last", 1, "--json")
    assert [run["number"] for run in json.loads(out)] == [2]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_go_back_to_is_one_line(past, pushed, ctnet_main, count):
    pushed(count)
    if not count:
        past.run(WHEN[0], at_least=1.0)
    code, out, err = ctnet_main("rollback", past.workdir.root)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "nothing" in err
    assert past.store.get_executions_by_type("ctnet.Rollback") == []


def test_a_version_that_was_never_pushed_is_one_line_with_those_that_were(past, pushed, ctnet_main):
    pushed(2)
    code, _, err = ctnet_main("rollback", past.workdir.root, 7)
    assert code == 2
    assert "no run pushed a version 7 here; there are 11, 12" in err
    code, _, err = ctnet_main("rollback", past.workdir.root / "elsewhere", 7)
    assert code == 2
    assert "no run has begun here" in err


def test_the_command_says_what_is_served_and_what_was(past, pushed, ctnet_main):
    pushed(2)
    code, out, _ = ctnet_main("rollback", past.workdir.root, "--json")
    assert code == 0
    number = served(past)[0]
    assert json.loads(out) == {
        "served": {"version": str(number), "run": 1, "first": "11"},
        "was": {"version": "12", "run": 2, "first": "12"},
    }
    code, out, _ = ctnet_main("rollback", past.workdir.root, 12)
    assert "Served now: version" in out
    assert "the model of run 2, first pushed as 12." in out
    assert f"Served before: version {number}, the model of run 1" in out


def test_a_version_that_was_published_by_a_killed_push_is_known_by_its_export(past, pushed):
    first, _ = pushed(2)
    made = past.run(WHEN[4], until="AtomicPusher", state=Execution.RUNNING)
    model = made[("Trainer", "model")]
    # The push was killed when the version was there and before the metadata knew of it.
    for place in (Path(model.uri) / "Format-Serving", past.workdir.serving / "21"):
        past.export(place, "21")
    result = roll_back(past.workdir.root)
    assert (result.was.version, result.was.run, result.served.first) == ("21", 3, "12")
    # The run is not pushed again, unless it is asked for.
    assert models_rolled_back_from(past.workdir) == [model.id]
    assert blessed(past)[-1] != model.id
    roll_back(past.workdir.root, 21)
    assert served(past)[1] == "21"
    assert models_rolled_back_from(past.workdir) == []
    assert roll_back(past.workdir.root, 11).served.run == 1
    assert blessed(past)[-1] == first


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"damaged")])
def test_lost_metadata_comes_back_from_its_copy(past, pushed, ctnet_main, damage):
    pushed(2)
    shutil.copyfile(past.workdir.metadata, past.workdir.metadata_backup)
    damage(past.workdir.metadata)
    code, _, err = ctnet_main("rollback", past.workdir.root)
    assert code == 0, err
    assert "is restored from its copy" in err
    assert served(past)[1] == "11"
    assert read_history(past.workdir.root).served == 1


def test_lost_metadata_without_a_copy_is_one_line(past, pushed, ctnet_main):
    pushed(2)
    past.workdir.metadata.write_bytes(b"damaged")
    code, _, err = ctnet_main("rollback", past.workdir.root)
    assert code == 2
    assert "cannot be read as ML Metadata" in err


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.retraining import rollback
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
def publish_and_die(*arguments):
    publish(*arguments)
    die()
publish = rollback.publish
rollback.publish = {"before": die, "after": publish_and_die}[sys.argv[2]]
rollback.roll_back(Path(sys.argv[1]))
"""


@pytest.fixture
def killed(past, pushed):
    """`killed("before")`: kill -9 a rollback before, or after, its version is published."""

    def kill(when):
        models = pushed(3)
        done = subprocess.run([sys.executable, "-c", KILLED, past.workdir.root, when], check=False)
        assert done.returncode == -signal.SIGKILL
        (execution,) = past.store.get_executions_by_type("ctnet.Rollback")
        assert execution.last_known_state == Execution.RUNNING
        assert rolled_back_from(past.store) == {}
        return models

    return kill


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_rollback_is_done_when_it_is_run_again_and_goes_back_no_further(
    past, killed, when
):
    _, second, third = killed(when)
    # Whole or not at all.
    assert served(past)[1] == {"before": "13", "after": "12"}[when]
    result = roll_back(past.workdir.root)
    assert served(past)[1] == "12"
    assert (result.served.version, result.was.version) == (str(served(past)[0]), "13")
    assert list(rolled_back_from(past.store)) == [third]
    assert blessed(past)[-1] == second
    states = [one.state for one in read_rollbacks(past.store)]
    assert states == [Execution.FAILED, Execution.COMPLETE][when == "after" :]


@pytest.mark.slow
def test_a_run_after_a_killed_rollback_knows_what_is_served(past, killed):
    _, second, third = killed("after")
    assert models_rolled_back_from(past.workdir) == [third]
    assert blessed(past)[-1] == second
