"""A pushed version appears whole or not at all, and versions only grow."""

import json
import threading
import time
from pathlib import Path

import pytest
from tfx.components import Pusher
from tfx.proto import pusher_pb2
from tfx.types import channel, standard_artifacts
from tfx.utils import io_utils

from components.atomic_pusher.component import AtomicPusher
from components.atomic_pusher.executor import CARD_IN_VERSION, Executor, next_version, publish
from components.model_card_gen.artifact import MODEL_CARD, ModelCard

FILES = {
    "saved_model.pb": "graph",
    "fingerprint.pb": "fingerprint",
    "variables/variables.index": "index",
    "variables/variables.data-00000-of-00001": "weights",
    "assets.extra/tf_serving_warmup_requests": "requests",
}


def write_model(folder, files=FILES):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def read_model(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def versions(base):
    return sorted(int(path.name) for path in base.iterdir() if path.name.isdecimal())


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


@pytest.fixture
def base(tmp_path):
    return tmp_path / "serving" / "ctnet"


class CrashError(Exception):
    """What a killed process looks like from inside."""


@pytest.fixture
def copy_dies_midway(monkeypatch):
    """Let a copy end after `files` files, as a full disk or a kill would, until undone."""

    def arm(files):
        real_copy, copied = io_utils.fileio.copy, []

        def copy(source, destination, overwrite=False):
            if len(copied) == files:
                raise CrashError
            copied.append(destination)
            real_copy(source, destination, overwrite)

        monkeypatch.setattr(io_utils.fileio, "copy", copy)

    yield arm
    monkeypatch.undo()


def test_a_published_version_holds_the_whole_model(model, base):
    folder = publish(str(model), str(base), "7")
    assert folder == str(base / "7")
    assert read_model(base / "7") == FILES
    assert [path.name for path in base.iterdir()] == ["7"]


@pytest.mark.parametrize("files", range(len(FILES)))
def test_a_push_that_dies_midway_shows_no_version_and_the_next_one_works(
    model, base, copy_dies_midway, monkeypatch, files
):
    publish(str(model), str(base), "1")
    copy_dies_midway(files)
    with pytest.raises(CrashError):
        publish(str(model), str(base), "2")
    assert versions(base) == [1]
    assert read_model(base / "1") == FILES
    # Nothing that a server would look into: neither a number nor a name without a leading dot.
    assert all(path.name == "1" or path.name.startswith(".") for path in base.iterdir())

    monkeypatch.undo()
    publish(str(model), str(base), "3")
    assert sorted(path.name for path in base.iterdir()) == ["1", "3"]
    assert read_model(base / "3") == FILES


def test_a_server_that_looks_all_the_time_never_sees_a_part(tmp_path, base):
    many = {f"variables/{number}": "x" * 1000 for number in range(300)}
    model = write_model(tmp_path / "large", {**FILES, **many})
    base.mkdir(parents=True)
    seen, done = [], threading.Event()

    def watch():
        while not done.is_set():
            seen.extend(len(read_model(path)) for path in base.iterdir() if path.name == "5")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        publish(str(model), str(base), "5")
        until = time.monotonic() + 10
        while not seen and time.monotonic() < until:
            time.sleep(0.001)
    finally:
        done.set()
        watcher.join()
    assert set(seen) == {len(FILES) + len(many)}


@pytest.mark.parametrize(
    ("present", "now", "version"),
    [
        ([], 1000.9, "1000"),
        (["1", "999"], 1000.0, "1000"),
        (["1000"], 1000.0, "1001"),
        # A clock that was set back, or another machine's that runs ahead.
        (["5000", "12"], 1000.0, "5001"),
        ([".unfinished-9999", "tmp", "9999.tmp", "²"], 1000.0, "1000"),
    ],
)
def test_versions_only_grow(base, monkeypatch, present, now, version):
    base.mkdir(parents=True)
    for name in present:
        (base / name).mkdir()
    monkeypatch.setattr(time, "time", lambda: now)
    assert next_version(str(base)) == version


def test_the_first_version_needs_no_folder(tmp_path):
    assert int(next_version(str(tmp_path / "nowhere"))) <= time.time()


CARD = "# Model card"
MODEL_ID = 12


@pytest.fixture
def push(tmp_path, base):
    """`(blessed, servable, export, card)`: the executor's PushedModel artifact."""
    archives = iter(range(100))

    def run(blessed=True, servable=True, export="fingerprint", card=CARD, rolled_back_from=None):
        model = standard_artifacts.Model()
        model.id = MODEL_ID
        model.uri = str(tmp_path / "trained")
        files = {**FILES, "fingerprint.pb": export}
        write_model(tmp_path / "trained" / "Format-Serving", files)
        blessing = standard_artifacts.ModelBlessing()
        blessing.set_int_custom_property("blessed", int(blessed))
        infra_blessing = standard_artifacts.InfraBlessing()
        infra_blessing.set_int_custom_property("blessed", int(servable))
        inputs = {
            "model": [model],
            "model_blessing": [blessing],
            "infra_blessing": [infra_blessing],
        }
        if card is not None:
            model_card = ModelCard()
            model_card.uri = str(write_model(tmp_path / "card", {MODEL_CARD: card}))
            inputs["model_card"] = [model_card]
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(tmp_path / "pushed" / str(next(archives)))
        Executor().Do(
            inputs,
            {"pushed_model": [pushed]},
            {
                "push_destination": json.dumps({"filesystem": {"base_directory": str(base)}}),
                "rolled_back_from": rolled_back_from,
            },
        )
        return pushed

    return run


def test_a_blessed_model_is_pushed_and_the_artifact_says_where(push, base):
    pushed = push()
    (version,) = versions(base)
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == str(version)
    assert pushed.get_string_custom_property("pushed_destination") == str(base / str(version))


def test_a_version_and_the_archive_have_the_whole_model_with_its_card(push, base):
    archive = push().uri
    (version,) = versions(base)
    whole = {**FILES, CARD_IN_VERSION: CARD}
    assert read_model(base / str(version)) == whole
    assert read_model(Path(archive)) == whole


def test_a_model_without_a_card_is_pushed_as_it_is(push, base):
    push(card=None)
    (version,) = versions(base)
    assert read_model(base / str(version)) == FILES


def test_two_pushes_within_a_second_are_two_versions(push, base):
    push(export="one")
    push(export="other")
    first, second = versions(base)
    assert second > first


def test_another_card_of_the_newest_model_makes_no_version_and_changes_none(push, base):
    first = push()
    again = push(card="# Model card, in other words")
    (version,) = versions(base)
    assert read_model(base / str(version))[CARD_IN_VERSION] == CARD
    assert read_model(Path(again.uri))[CARD_IN_VERSION] == "# Model card, in other words"
    for said in ("pushed_version", "pushed_destination"):
        assert again.get_string_custom_property(said) == first.get_string_custom_property(said)
    assert again.get_int_custom_property("pushed") == 1


def test_a_model_that_is_no_longer_the_newest_is_pushed_again_with_its_newest_card(push, base):
    push(export="one")
    push(export="other")
    push(export="one", card="# Newer card")
    found = [read_model(base / str(version)) for version in versions(base)]
    assert [files["fingerprint.pb"] for files in found] == ["one", "other", "one"]
    assert found[-1][CARD_IN_VERSION] == "# Newer card"


def test_a_version_from_before_there_were_cards_is_followed_by_one_with_a_card(push, base):
    push(card=None)
    push()
    first, second = (read_model(base / str(version)) for version in versions(base))
    assert CARD_IN_VERSION not in first
    assert second[CARD_IN_VERSION] == CARD


@pytest.mark.parametrize(("blessed", "servable"), [(False, True), (True, False), (False, False)])
def test_a_model_that_is_not_blessed_is_not_pushed(push, base, blessed, servable):
    pushed = push(blessed=blessed, servable=servable)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not base.exists()


# The archive takes the model and the card; then comes the version, file by file.
@pytest.mark.parametrize("files", range(2 * len(FILES) + 2))
def test_a_push_that_dies_shows_no_version_with_or_without_a_card(
    push, base, copy_dies_midway, monkeypatch, files
):
    copy_dies_midway(files)
    with pytest.raises(CrashError):
        push()
    assert not base.exists() or versions(base) == []

    monkeypatch.undo()
    push()
    (version,) = versions(base)
    assert read_model(base / str(version)) == {**FILES, CARD_IN_VERSION: CARD}


def test_a_model_that_was_rolled_back_from_is_not_pushed_and_the_artifact_says_why(push, base):
    pushed = push(rolled_back_from=json.dumps([3, MODEL_ID]))
    assert not base.exists()
    assert pushed.get_int_custom_property("pushed") == 0
    assert pushed.get_int_custom_property("rolled_back_from") == 1
    assert push(rolled_back_from=json.dumps([3])).get_int_custom_property("pushed") == 1


def test_the_step_is_tfxs_pusher_with_one_input_and_a_code_version_more(base):
    def made(artifact_type):
        return channel.Channel(type=artifact_type)

    destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(base))
    )
    inputs = {
        "model": made(standard_artifacts.Model),
        "model_blessing": made(standard_artifacts.ModelBlessing),
        "infra_blessing": made(standard_artifacts.InfraBlessing),
    }
    theirs = Pusher(**inputs, push_destination=destination)
    ours = AtomicPusher(
        **inputs, model_card=made(ModelCard), push_destination=destination, code_version="1"
    )
    assert ours.inputs.keys() == {*theirs.inputs, "model_card"}
    assert ours.outputs.keys() == theirs.outputs.keys()
    sent = "push_destination"
    assert ours.exec_properties[sent] == theirs.exec_properties[sent]
    assert ours.exec_properties["code_version"] == "1"
    # Without a rollback it is no part of the cache's key.
    assert ours.exec_properties["rolled_back_from"] is None
    after = AtomicPusher(
        **inputs, push_destination=destination, code_version="1", rolled_back_from=[12, 3]
    )
    assert after.exec_properties["rolled_back_from"] == "[3, 12]"
