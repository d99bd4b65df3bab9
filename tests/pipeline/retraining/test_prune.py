"""`ctnet prune`: what goes, what stays, and what is still known of what went."""

import json
import shutil
import sqlite3

import pytest
from ml_metadata.proto.metadata_store_pb2 import Artifact, Execution

from pipeline.history.run_history import read_history
from pipeline.retraining.prune import Policy, prune
from pipeline.retraining.rollback import roll_back
from transform.errors import ConfigError

WHEN = [f"2025-06-{day:02d}T08:00:00" for day in range(10, 25)]


@pytest.fixture
def runs(past):
    """`runs("11", None)`: runs that pushed this version, and nothing; gives their artifacts."""

    def add(*versions):
        before = len(past.store.get_contexts_by_type("pipeline_run")) if versions else 0
        made = []
        for number, version in enumerate(versions, before):
            refused = {"at_least": 1.0} if version is None else {"version": version}
            made.append(past.run(WHEN[number], **refused))
            log = past.workdir.logs / f"run-202506{10 + number}-075959.log"
            log.parent.mkdir(exist_ok=True)
            log.write_text("what TFX said")
        return made

    return add


def folder(past, artifact):
    return past.workdir.artifacts.joinpath(*artifact.uri.split("/")[-3:])


def state(past, artifact):
    (found,) = past.store.get_artifacts_by_id([artifact.id])
    return found.state


def versions(past):
    return sorted(one.name for one in past.workdir.serving.iterdir())


def test_what_is_older_than_the_policy_goes_and_the_rest_stays(past, runs):
    first, second, third = runs("11", "12", "13")
    pruned = prune(past.workdir.root, Policy(versions=1, runs=1))
    assert versions(past) == ["13"]
    for made in (first, second):
        for artifact in made.values():
            assert not folder(past, artifact).exists()
            assert state(past, artifact) == Artifact.DELETED
    for artifact in third.values():
        assert folder(past, artifact).exists()
        assert state(past, artifact) == Artifact.LIVE
    assert [one.name for one in past.workdir.logs.iterdir()] == ["run-20250612-075959.log"]
    assert (pruned.kept_versions, pruned.kept_runs) == (["13"], [WHEN[2]])
    assert pruned.counts()["versions"] == 2
    assert pruned.counts()["artifacts"] == len(first) + len(second)
    assert prune(past.workdir.root, Policy(versions=1, runs=1)).removed == []


def test_kept_versions_can_be_rolled_back_to_but_their_slices_go(past, runs):
    _, second, *_ = runs("11", "12", None, None, None)
    prune(past.workdir.root, Policy(versions=2, runs=1))
    assert versions(past) == ["11", "12"]
    assert not folder(past, second[("CTExampleGen", "examples")]).exists()
    for key in (("Trainer", "model"), ("AtomicPusher", "pushed_model")):
        assert state(past, second[key]) == Artifact.LIVE
    result = roll_back(past.workdir.root)
    assert result.served.first == "11"
    assert (past.workdir.serving / result.served.version / "saved_model.pb").exists()


def test_what_is_served_stays_with_all_that_the_next_run_compares_with(past, runs):
    served, *_ = runs("11", None, None, None, None, None)
    prune(past.workdir.root, Policy(versions=1, runs=2))
    assert versions(past) == ["11"]
    for key, artifact in served.items():
        is_bulk = key == ("CTExampleGen", "examples")
        assert state(past, artifact) == (Artifact.DELETED if is_bulk else Artifact.LIVE), key


def test_the_model_that_was_rolled_back_to_stays_though_it_is_old(past, runs):
    first, second, *_ = runs("11", "12")
    roll_back(past.workdir.root)
    runs(None, None, None)
    prune(past.workdir.root, Policy(versions=1, runs=1))
    for key in (("Trainer", "model"), ("AtomicPusher", "pushed_model")):
        assert state(past, first[key]) == Artifact.LIVE
        assert state(past, second[key]) == Artifact.DELETED
    (served,) = versions(past)
    assert (past.workdir.serving / served / "fingerprint.pb").read_text() == "11"


def test_a_version_that_a_server_is_pinned_to_stays_and_can_be_rolled_back_to(
    past, runs, ctnet_main
):
    first, second, _ = runs("11", "12", "13")
    options = ("--keep-versions", 1, "--keep-runs", 1, "--keep", 11, "--keep", 7)
    code, out, _ = ctnet_main("prune", past.workdir.root, *options)
    assert code == 0
    assert "Kept: versions 11, 13;" in out
    assert versions(past) == ["11", "13"]
    assert state(past, second[("Trainer", "model")]) == Artifact.DELETED
    for key in (("Trainer", "model"), ("AtomicPusher", "pushed_model")):
        assert state(past, first[key]) == Artifact.LIVE
    assert roll_back(past.workdir.root, 11).served.first == "11"


def test_a_blessed_model_that_the_server_refused_is_not_taken_for_what_is_served(past, runs):
    (served,) = runs("11")
    past.run(WHEN[1], refused="a slice takes 900 ms")
    runs(None, None)
    (past.workdir.serving / "11").rename(past.workdir.serving / "11.moved")
    prune(past.workdir.root, Policy(versions=1, runs=1))
    assert state(past, served[("Trainer", "model")]) == Artifact.LIVE


def test_the_statistics_that_the_next_run_is_compared_with_stay_after_a_rollback(past, runs):
    _, accepted, bad = runs("11", None, "12")
    roll_back(past.workdir.root)
    prune(past.workdir.root, Policy(versions=1, runs=1))
    for made in (accepted, bad):
        assert state(past, made[("StatisticsGen", "statistics")]) == Artifact.LIVE
    assert state(past, accepted[("Trainer", "model")]) == Artifact.DELETED


def test_the_copy_of_the_metadata_knows_what_is_deleted_before_its_folder_goes(
    past, runs, monkeypatch
):
    first, *_ = runs("11", "12")
    known = []

    def remove(path):
        if "serving" not in path.parts:
            copy = sqlite3.connect(past.workdir.metadata_backup)
            query = "SELECT state FROM Artifact WHERE id = ?"
            known.append(copy.execute(query, (first[("Trainer", "model")].id,)).fetchone())
            copy.close()

    monkeypatch.setattr("pipeline.retraining.prune.shutil.rmtree", remove)
    prune(past.workdir.root, Policy(versions=1, runs=1))
    assert set(known) == {(Artifact.DELETED,)}


def test_lost_metadata_comes_back_from_its_copy(past, runs, ctnet_main):
    runs("11", "12")
    shutil.copyfile(past.workdir.metadata, past.workdir.metadata_backup)
    past.workdir.metadata.write_bytes(b"damaged")
    code, _, err = ctnet_main("history", past.workdir.root)
    assert code == 2
    assert "its copy metadata.backup.sqlite is there" in err
    past.workdir.metadata.unlink()
    assert "metadata.sqlite: lost; its copy" in ctnet_main("history", past.workdir.root)[2]
    told = []
    prune(past.workdir.root, Policy(versions=1, runs=1), tell=told.append)
    assert "is restored from its copy" in told[0]
    assert versions(past) == ["12"]


def test_runs_that_did_not_end_use_nothing_up(past, runs):
    made = runs("11", None)
    for number in range(5, 9):
        past.run(WHEN[number], until="Trainer", state=Execution.FAILED)
    prune(past.workdir.root, Policy(versions=1, runs=2))
    assert all(state(past, one) == Artifact.LIVE for run in made for one in run.values())


def test_what_a_kept_run_took_from_the_cache_stays(past, runs):
    first, *_ = runs("11")
    past.run(WHEN[3], cached=("CTExampleGen", "StatisticsGen"), version="12")
    prune(past.workdir.root, Policy(versions=1, runs=1))
    assert folder(past, first[("CTExampleGen", "examples")]).exists()
    assert not folder(past, first[("Trainer", "model")]).exists()


def test_the_history_of_what_was_pruned_still_has_its_figures(past, runs, ctnet_main):
    past.run(WHEN[0], refused="a slice takes 900 ms")
    past.run(WHEN[1], at_least=1.0)
    runs("11", "12", "13")
    before = read_history(past.workdir.root).runs
    assert before[0].refused
    assert before[1].failed_bounds
    prune(past.workdir.root, Policy(versions=1, runs=1))
    after = read_history(past.workdir.root).runs
    assert [run.metrics for run in after] == [run.metrics for run in before]
    assert [run.failed_bounds for run in after] == [run.failed_bounds for run in before]
    assert [run.refused for run in after] == [run.refused for run in before]
    assert after[2].gone == ["evaluation", "model", "version"]
    code, out, _ = ctnet_main("history", past.workdir.root)
    assert code == 0
    assert "pushed 11 (gone)" in out
    code, _, err = ctnet_main("compare", f"{past.workdir.root}@1", past.workdir.root)
    assert code == 2
    assert "was deleted" in err


def test_a_dry_run_says_the_same_and_removes_nothing(past, runs):
    runs("11", "12", "13")
    before = sorted(past.workdir.root.rglob("*"))
    looked = prune(past.workdir.root, Policy(versions=2, runs=1), dry_run=True)
    assert [one for one in sorted(past.workdir.root.rglob("*")) if one.name != ".lock"] == before
    assert all(one.state == Artifact.LIVE for one in past.store.get_artifacts())
    done = prune(past.workdir.root, Policy(versions=2, runs=1))
    assert (done.removed, looked.dry_run) == (looked.removed, True)
    assert sum(one.bytes for one in done.removed) > 0


def test_only_what_ctnet_made_goes_and_no_link_is_followed(past, runs, tmp_path):
    first, *_ = runs("11", "12", "13")
    elsewhere = tmp_path / "elsewhere"
    model = folder(past, first[("Trainer", "model")])
    shutil.move(model, elsewhere / model.name)
    model.symlink_to(elsewhere / model.name)
    examples = past.workdir.artifacts / "CTExampleGen" / "examples"
    shutil.move(examples, elsewhere / "examples")
    examples.symlink_to(elsewhere / "examples")
    past.export(past.workdir.serving / "5", "somebody's own")
    (past.workdir.artifacts / "Trainer" / "model" / "9999").mkdir()
    (past.workdir.root / "notes.txt").write_text("mine")
    pruned = prune(past.workdir.root, Policy(versions=1, runs=1))
    assert (elsewhere / model.name).is_dir()
    assert len(list((elsewhere / "examples").iterdir())) == 3
    assert str(model) in pruned.skipped
    assert state(past, first[("Trainer", "model")]) == Artifact.LIVE
    assert versions(past) == ["13", "5"]
    assert (past.workdir.artifacts / "Trainer" / "model" / "9999").exists()
    assert (past.workdir.root / "notes.txt").exists()


def test_a_pruning_that_was_killed_is_finished_by_the_next(past, runs, monkeypatch):
    first, *_ = runs("11", "12")
    killed = []

    def remove(path):
        if killed:
            raise KeyboardInterrupt
        killed.append(path)

    monkeypatch.setattr("pipeline.retraining.prune.shutil.rmtree", remove)
    with pytest.raises(KeyboardInterrupt):
        prune(past.workdir.root, Policy(versions=1, runs=1))
    monkeypatch.undo()
    # What is half gone is handed out by nothing.
    assert "11" not in versions(past)
    for artifact in first.values():
        assert state(past, artifact) == Artifact.DELETED
    prune(past.workdir.root, Policy(versions=1, runs=1))
    assert not any(folder(past, artifact).exists() for artifact in first.values())


def test_the_command_lists_what_goes(past, runs, ctnet_main):
    runs("11", "12", "13")
    options = ("--keep-versions", 1, "--keep-runs", 1)
    code, out, _ = ctnet_main("prune", past.workdir.root, *options, "--dry-run")
    assert code == 0
    assert "Would be removed" in out
    assert "serving/ctnet/11" in out
    assert "Kept: versions 13; all of the last 1 runs." in out
    code, out, _ = ctnet_main("prune", past.workdir.root, *options, "--json")
    found = json.loads(out)
    assert {one["kind"] for one in found["removed"]} == {"version", "artifact", "log"}
    code, out, _ = ctnet_main("prune", past.workdir.root, *options)
    assert "Nothing to remove." in out
    assert ctnet_main("prune", past.workdir.root, "--keep-versions", 0)[0] == 2


def test_a_folder_without_runs_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no run has begun here"):
        prune(tmp_path, Policy(versions=1, runs=1))
