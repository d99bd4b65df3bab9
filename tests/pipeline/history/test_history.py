"""What `ctnet history` says, of runs in a real metadata store."""

import dataclasses
import fcntl
import io
import json
import math
import shutil
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2
from rich.console import Console
from sklearn import metrics as sklearn_metrics

from pipeline.history.run_history import Verdict, read_history
from pipeline.history.terminal import print_history
from transform.errors import ConfigError

STATES = metadata_store_pb2.Execution.State
FIRST, SECOND, THIRD = (f"2025-06-{day}T08:31:07.12345{day % 10}" for day in (14, 15, 16))


def printed(history, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_history(history, console)
    return console.file.getvalue()


def history_of(past):
    return read_history(past.workdir.root)


def test_a_run_is_shown_with_its_data_figures_and_version(past, predict):
    predictions = predict()
    past.run(FIRST, predictions=predictions, version="17")
    history = history_of(past)
    (run,) = history.runs
    assert (run.number, run.run, run.name) == (1, FIRST, "tiny")
    assert run.verdict is Verdict.PUSHED
    assert (run.version, run.versions, run.served, history.serving) == ("17", ["17"], True, "17")
    assert run.started_from == "imagenet"
    assert run.parent is run.compared_with is run.step is run.refused is None
    assert (run.cached, run.gone, run.failed_bounds) == (False, [], [])
    assert run.seconds >= 0
    assert run.data.path == "/data/manifest.csv"
    # Without what the key of the patient ids adds.
    assert run.data.fingerprint == FIRST[-2:] * 32
    assert run.data.span is run.data.choice is None

    labels = [one.label for one in predictions]
    probabilities = [one.probability for one in predictions]
    decisions = [one.decision for one in predictions]
    found = run.metrics
    assert found["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(labels, probabilities))
    assert found["sensitivity"] == pytest.approx(sklearn_metrics.recall_score(labels, decisions))
    assert found["specificity"] == pytest.approx(
        sklearn_metrics.recall_score(labels, decisions, pos_label=0)
    )
    assert (found["example_count"], found["patients"]) == (60, 30)
    for unit in ("", "patient_"):
        for name in ("sensitivity", "specificity", "auc"):
            whole = unit + name
            assert found[f"{whole}_lower"] <= found[whole] <= found[f"{whole}_upper"]

    shown = printed(history)
    assert "2025-06-14T08:31:07" in shown
    assert "pushed 17" in shown
    assert f"{found['patient_auc']:.3f} ({found['patient_auc_lower']:.3f}-" in shown
    assert shown.splitlines()[-1] == "Served now: version 17, the model of run 1."


def test_a_model_that_the_gate_stopped_says_which_bounds_failed(past):
    past.run(FIRST, at_least=1.0)
    history = history_of(past)
    (run,) = history.runs
    assert run.verdict is Verdict.NOT_BLESSED
    assert [one["metric"] for one in run.failed_bounds] == ["sensitivity"]
    assert (run.version, run.versions, run.served, history.serving) == (None, [], False, None)
    assert "not blessed: sensitivity" in printed(history)
    assert "Served now: nothing" in printed(history)


def test_a_model_that_the_server_trial_refused_says_why(past):
    past.run(FIRST, refused="a slice takes [900] ms")
    history = history_of(past)
    assert history.runs[0].verdict is Verdict.REFUSED_BY_SERVER
    assert history.runs[0].refused == "a slice takes [900] ms"
    assert "Run 1: the server trial refused: a slice takes [900] ms" in printed(history)


def test_a_run_from_the_cache_shows_what_it_reused(past, every_step, predict):
    past.run(FIRST, predictions=predict(), version="17")
    past.run(SECOND, cached=every_step)
    first, second = history_of(past).runs
    assert (first.cached, second.cached) == (False, True)
    assert second.verdict is Verdict.PUSHED
    assert second.metrics == first.metrics
    assert (second.version, second.evaluation) == ("17", first.evaluation)
    assert first.served
    assert second.served
    assert "pushed 17, cached" in printed(history_of(past))
    assert printed(history_of(past)).splitlines()[-1].endswith("version 17, the model of run 1.")


def test_a_run_that_trained_anew_is_not_from_the_cache(past):
    past.run(FIRST, version="17")
    past.run(SECOND, cached=("CTExampleGen",), version="18")
    assert [run.cached for run in history_of(past).runs] == [False, False]


def test_the_parent_and_the_model_compared_with_are_named_by_the_run_that_trained_them(
    past, every_step
):
    first = past.run(FIRST, version="17")[("Trainer", "model")]
    past.run(SECOND, cached=every_step)
    past.run(THIRD, parent=first, baseline=first, version="18")
    history = history_of(past)
    third = history.runs[2]
    assert third.started_from is None
    for model in (third.parent, third.compared_with):
        assert (model.run, model.number, model.model) == (FIRST, 1, first.uri)
    (row,) = [line for line in printed(history).splitlines() if "pushed 18" in line]
    assert row.split()[-4:] == ["run", "1", "run", "1"]


def test_a_model_of_no_run_here_is_unknown(past):
    stranger = past._artifact("Model", "/elsewhere/model/3")
    past.run(FIRST, baseline=stranger)
    (run,) = history_of(past).runs
    assert (run.compared_with.run, run.compared_with.number) == (None, None)
    assert run.compared_with.model == "/elsewhere/model/3"
    assert "unknown" in printed(history_of(past))


@pytest.mark.parametrize(
    ("choice", "shown"),
    [("newest", "span 7"), ("7", "span 7"), ("last:3", "span 7 (last:3)")],
)
def test_data_in_spans_is_named_by_its_span(past, choice, shown):
    past.run(FIRST, data="/data", span=7, choice=choice)
    history = history_of(past)
    assert (history.runs[0].data.span, history.runs[0].data.choice) == (7, choice)
    assert f"  {shown}  " in printed(history)


def test_a_run_that_failed_says_where_and_has_no_figures(past):
    past.run(FIRST, until="CTExampleGen", state=STATES.FAILED)
    past.run(SECOND, until="ReportGen", state=STATES.FAILED, version="17")
    first, second = history_of(past).runs
    assert (first.verdict, first.step) == (Verdict.FAILED, "CTExampleGen")
    assert (first.metrics, first.evaluation, first.model) == ({}, None, None)
    assert first.data.fingerprint
    assert (second.verdict, second.step, second.version) == (Verdict.FAILED, "ReportGen", "17")
    shown = printed(history_of(past), width=100)
    assert "failed at CTExampleGen" in shown
    assert "failed at ReportGen, pushed 17" in shown


@pytest.mark.parametrize("state", [STATES.RUNNING, STATES.COMPLETE])
def test_a_killed_run_is_told_from_one_that_is_at_work(past, state):
    past.run(FIRST, until="Trainer", state=STATES.RUNNING)
    past.run(SECOND, until="Trainer", state=state)
    for holds_the_folder, verdict in ((False, Verdict.KILLED), (True, Verdict.RUNNING)):
        with (past.workdir.root / ".lock").open("w") as lock:
            if holds_the_folder:
                fcntl.flock(lock, fcntl.LOCK_EX)
            first, second = history_of(past).runs
        assert (first.verdict, first.step, first.seconds) == (Verdict.KILLED, "Trainer", None)
        assert (second.verdict, second.step, second.seconds) == (verdict, "Trainer", None)
    assert "killed in Trainer" in printed(history_of(past))


def test_looking_keeps_no_run_out(past):
    past.run(FIRST, until="Trainer", state=STATES.RUNNING)
    with (past.workdir.root / ".lock").open("w") as lock:
        history_of(past)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_was_deleted_is_said_to_be_gone(past):
    made = past.run(FIRST, version="17")
    shutil.rmtree(made[("SliceEvaluator", "evaluation")].uri)
    shutil.rmtree(made[("Trainer", "model")].uri)
    shutil.rmtree(past.workdir.serving / "17")
    history = history_of(past)
    (run,) = history.runs
    assert run.gone == ["evaluation", "model", "version"]
    assert (run.metrics, run.versions, run.served) == ({}, [], False)
    assert "pushed 17 (gone)" in printed(history)
    assert "1  gone" in printed(history)


@pytest.mark.parametrize("record", [None, "{", "[]", '{"passed": true}'])
def test_a_record_that_cannot_be_read_leaves_blanks(past, record):
    made = past.run(FIRST, version="17")
    file = f"{made[('SliceEvaluator', 'evaluation')].uri}/evaluation.json"
    past.run(SECOND, version="18")
    with open(file, "w") as evaluation:
        evaluation.write(record or "")
    first, second = history_of(past).runs
    assert (first.metrics, first.failed_bounds, first.gone) == ({}, [], [])
    assert first.verdict is Verdict.PUSHED
    assert second.metrics
    assert "no record" in printed(history_of(past))


def test_a_version_that_was_pushed_again_from_the_cache_is_found_by_its_export(past, every_step):
    past.run(FIRST, version="17")
    past.run(SECOND, version="18")
    past.run(THIRD, cached=[step for step in every_step if step != "Trainer"])
    # As `publish_unless_newest` does for a run that came from the cache.
    past.export(past.workdir.serving / "19", "17")
    first, second, _ = history_of(past).runs
    assert (first.versions, first.served) == (["17", "19"], True)
    assert (second.versions, second.served) == (["18"], False)
    assert printed(history_of(past)).splitlines()[-1].endswith("version 19, the model of run 1.")


def test_a_version_that_nobody_here_pushed_is_of_no_run(past):
    past.run(FIRST, version="17")
    past.export(past.workdir.serving / "99", "elsewhere")
    assert not history_of(past).runs[0].served
    assert printed(history_of(past)).splitlines()[-1] == ("Served now: version 99, of no run here.")


def test_a_folder_that_was_moved_keeps_its_history(past, tmp_path):
    past.run(FIRST, version="17")
    before = history_of(past).runs[0].metrics
    past.workdir.root.rename(tmp_path / "moved")
    (run,) = read_history(tmp_path / "moved").runs
    assert run.gone == []
    assert run.metrics == before
    assert run.evaluation.startswith(str(tmp_path / "moved"))


def test_figures_that_are_undefined_are_null(past, predict):
    negatives = [one for one in predict() if one.label == 0]
    past.run(FIRST, predictions=negatives)
    history = history_of(past)
    assert history.runs[0].metrics["sensitivity"] is None
    (values,) = json.loads(json.dumps(history.as_json(), allow_nan=False))
    assert values["metrics"]["patient_auc"] is None
    assert values["failed_bounds"][0]["value"] is None
    assert "undefined" in printed(history)


def test_an_interval_without_width_is_marked(past, predict):
    past.run(FIRST, predictions=predict(patients=60))
    assert "no spread" not in printed(history_of(past))
    perfect = [
        dataclasses.replace(one, probability=(p := 0.1 + 0.8 * one.label), decision=int(p > 0.5))
        for one in predict()
    ]
    past.run(SECOND, predictions=perfect)
    shown = printed(history_of(past))
    assert shown.count("1.000 (no spread)") == 2
    # Sensitivity and specificity have the exact interval.
    assert shown.count("1.000 (0.") == 4
    assert "no spread: all resamples gave this value, which is no certainty" in shown


def test_a_record_of_many_groups_is_read_without_them(past, predict):
    made = past.run(FIRST, predictions=predict())
    before = history_of(past).runs[0].metrics
    file = Path(made[("SliceEvaluator", "evaluation")].uri) / "evaluation.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "groups": {"source": {"a": "of a later version"}}}))
    assert before
    assert history_of(past).runs[0].metrics == before


@pytest.mark.parametrize("width", [80, 60, 45])
def test_the_tables_fit_the_terminal_by_leaving_columns_out(past, every_step, width):
    first = past.run(FIRST, version="1750000000")[("Trainer", "model")]
    past.run(SECOND, parent=first, baseline=first, version="1750000001", span=7)
    past.run(THIRD, cached=every_step)
    lines = printed(history_of(past), width).splitlines()
    assert max(map(len, lines[:-1])) <= width
    headings = [line.split() for line in lines if line.startswith("#")]
    assert [one[0] for one in headings] == ["#", "#"]
    assert "verdict" in headings[0]
    assert "AUC" in headings[1]
    assert ("parent" in headings[0], "sensitivity" in headings[1]) == ((width == 80,) * 2)
    # Numbers stay whole.
    assert all(version in " ".join(lines) for version in ("1750000000", "1750000001"))
    assert any(line.endswith(")") and line.count("(") >= 1 for line in lines if "slices" in line)


def test_runs_of_one_second_are_told_apart(past):
    past.run("2025-06-14T08:31:07.100000", until="Trainer")
    past.run("2025-06-14T08:31:07.200000", until="Trainer")
    shown = printed(history_of(past))
    assert "2025-06-14T08:31:07.1 " in shown
    assert "2025-06-14T08:31:07.2 " in shown


def test_reading_leaves_the_store_as_it_is(past):
    past.run(FIRST, version="17")
    before = past.workdir.metadata.read_bytes()
    history_of(past)
    assert past.workdir.metadata.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"no database" * 100])
def test_a_folder_without_runs_is_one_line_and_exit_code_2(tmp_path, ctnet_main, content):
    if content is not None:
        (tmp_path / "metadata.sqlite").write_bytes(content)
    code, out, err = ctnet_main("history", tmp_path)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(f"ctnet: {tmp_path}")
    assert "give the folder of ctnet run" in line


def test_a_store_in_which_no_run_has_begun_is_one_line(past):
    with pytest.raises(ConfigError, match="no run has begun here"):
        history_of(past)


def test_the_command_prints_the_same_as_data(past, ctnet_main):
    past.run(FIRST, version="17")
    code, out, err = ctnet_main("history", past.workdir.root, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == history_of(past).as_json()
    assert not any(isinstance(one, float) and math.isnan(one) for one in json.loads(out)[0])
    code, out, err = ctnet_main("history", past.workdir.root)
    assert (code, err) == (0, "")
    assert "Served now: version 17" in out
