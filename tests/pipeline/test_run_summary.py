"""What a run says of itself: summary.json, the exit code, and the tables on the terminal."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from pipeline.summary import Summary, Verdict
from pipeline.terminal import RunDisplay, print_summary
from trainer.progress import TrainingProgress


@pytest.fixture
def not_blessed():
    return Summary(
        "hospital-a",
        Verdict.NOT_BLESSED,
        metrics={"auc": 0.861, "sensitivity": 0.7996, "specificity": 0.763, "example_count": 60.0},
        bounds=[
            {"metric": "sensitivity", "at_least": 0.7, "value": 0.7996, "passed": True},
            {"metric": "specificity", "at_least": 0.8, "value": 0.763, "passed": False},
            {"metric": "auc_change", "at_least": -0.02, "value": -0.0312, "passed": False},
        ],
        counts={
            "examples": {"train": {"positive": 191, "negative": 234}},
            "quarantined": {"unreadable": 2, "too_large": 1},
        },
        report="/work/[a]/report/index.html",
        log="/work/run.log",
        steps=[{"name": "Trainer", "seconds": 1.5, "cached": False}],
    )


def printed(summary):
    console = Console(file=io.StringIO(), width=100)
    print_summary(summary, console)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("verdict", "code"),
    [("pushed", 0), ("nothing_new", 0), ("failed", 1), ("not_blessed", 3), ("bad_data", 4)],
)
def test_a_scheduler_can_act_on_the_exit_code(verdict, code):
    assert Summary("a", Verdict(verdict)).exit_code == code


def test_the_summary_has_the_fields_that_programs_read(not_blessed, tmp_path):
    not_blessed.write(tmp_path / "summary.json")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    values = json.loads((tmp_path / "summary.json").read_text())
    assert values["verdict"] == "not_blessed"
    assert values["metrics"]["auc"] == 0.861
    assert [one["metric"] for one in values["bounds"] if not one["passed"]] == [
        "specificity",
        "auc_change",
    ]
    assert values["counts"]["examples"]["train"] == {"positive": 191, "negative": 234}
    assert values["counts"]["quarantined"] == {"unreadable": 2, "too_large": 1}
    assert values["steps"] == [{"name": "Trainer", "seconds": 1.5, "cached": False}]
    assert {"model", "version"} <= set(values)


def test_an_undefined_figure_leaves_valid_json(not_blessed):
    not_blessed.metrics = {"ppv": float("nan")}

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    values = json.loads(not_blessed.to_json(), parse_constant=refuse)
    assert values["metrics"]["ppv"] is None
    assert "undefined" in printed(not_blessed)
    assert "undefined" in printed(dataclasses.replace(not_blessed, metrics={"ppv": None}))


def test_an_earlier_summary_is_replaced_whole(not_blessed, tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("x" * 100_000)
    not_blessed.write(path)
    assert json.loads(path.read_text())["name"] == "hospital-a"


def test_the_terminal_names_each_failed_bound_with_its_value(not_blessed):
    text = printed(not_blessed)
    assert "Not pushed: specificity 0.763 < 0.800, auc_change -0.031 < -0.020." in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["specificity"] == ["0.763", "0.800", "FAILED"]
    assert rows["sensitivity"] == ["0.800", "0.700", "ok"]
    assert rows["auc_change"] == ["-0.031", "-0.020", "FAILED"]
    assert rows["auc"] == ["0.861"]
    assert rows["example_count"] == ["60"]
    assert rows["train"] == ["191", "234"]
    assert "quarantined: 2 unreadable, 1 too_large" in text


def test_a_figure_just_below_its_bound_shows_that_it_is(not_blessed):
    not_blessed.bounds = [
        {"metric": "sensitivity", "at_least": 0.8, "value": 0.79996, "passed": False}
    ]
    assert "sensitivity 0.79996 < 0.80000" in printed(not_blessed)


def test_a_model_refused_after_the_gate_is_not_refused_without_a_reason(not_blessed):
    not_blessed.bounds = not_blessed.bounds[:1]
    assert "Not pushed: every bound held, but the evaluation refused it." in printed(not_blessed)
    not_blessed.refused = "a slice takes [1] minute"
    assert "Not pushed: a slice takes [1] minute." in printed(not_blessed)


def test_paths_and_leaks_are_printed_as_they_are(not_blessed):
    not_blessed.leaks = ["Slices [of a patient] leak."]
    not_blessed.cautions = ["an AUC [of 0.5]"]
    not_blessed.shortcuts = ["The border [alone] tells."]
    text = printed(not_blessed)
    assert "/work/[a]/report/index.html" in text
    assert "Leak: Slices [of a patient] leak." in text
    assert "Caution: an AUC [of 0.5]" in text
    assert "Shortcut: The border [alone] tells." in text


def test_a_push_says_how_to_serve_and_ask_the_model():
    summary = Summary(
        "a",
        Verdict.PUSHED,
        version="17",
        model="/work/serving/ctnet/17",
        serving="/work/serving/ctnet",
    )
    text = printed(summary)
    assert "Pushed version 17." in text
    assert "ctnet serve /work/serving/ctnet\n" in text
    assert "ctnet predict FILE... --server" in text


def test_the_display_has_a_line_for_each_step_and_each_finished_epoch():
    display, err = RunDisplay(), io.StringIO()
    display.open(io.StringIO(), err)
    display.starting()
    display.step_begun("Trainer", 6, 11)
    epoch = TrainingProgress("fine-tuning", 2, 30, 1, 4, {"loss": 0.5}, finished=False)
    display.training_progress(epoch)
    figures = {"loss": 0.512, "auc": 0.8, "val_loss": 0.6, "val_auc": 0.75}
    display.training_progress(dataclasses.replace(epoch, metrics=figures, finished=True))
    display.step_ended("Trainer", 12.34, cached=False)
    display.step_begun("SliceEvaluator", 8, 11)
    display.step_ended("SliceEvaluator", 0.0, cached=True)
    display.step_begun("AtomicPusher", 10, 11)
    display.step_failed("AtomicPusher")
    display.close()
    lines = [line.split() for line in err.getvalue().splitlines()]
    assert [line[:4] for line in lines] == [
        ["fine-tuning", "epoch", "2/30", "loss"],
        ["[", "6/11]", "Trainer", "12.3"],
        ["[", "8/11]", "SliceEvaluator", "cached"],
        ["[10/11]", "AtomicPusher", "failed"],
    ]
    assert "loss 0.512  auc 0.800  val_loss 0.600  val_auc 0.750" in err.getvalue()


def test_figures_stand_with_their_intervals_and_those_of_patients(not_blessed):
    not_blessed.metrics = {
        "sensitivity": 0.8125,
        "tp": 13.0,
        "patient_sensitivity": 1.0,
        "example_count": 60.0,
        "sensitivity_lower": 0.61,
        "sensitivity_upper": float("nan"),
        "patient_sensitivity_lower": 0.75,
        "patient_sensitivity_upper": 1.0,
    }
    rows = [line.split() for line in printed(not_blessed).splitlines()]
    wanted = "sensitivity 0.812 0.610 to undefined 1.000 0.750 to 1.000"
    assert wanted.split() in rows
    assert ["tp", "13"] in rows
    assert ["example_count", "60"] in rows
    assert not any(row[0].startswith("patient_") for row in rows if row)


def test_a_bound_of_a_group_is_printed_as_it_is_called(not_blessed):
    name = "sensitivity[sex=F]"
    not_blessed.bounds = [{"metric": name, "at_least": 0.7, "value": None, "passed": False}]
    text = printed(not_blessed)
    assert f"{name} undefined < 0.700" in text
    assert [name, "undefined", "0.700", "FAILED"] in [line.split() for line in text.splitlines()]


def test_what_a_manifest_calls_a_group_cannot_steer_the_terminal(not_blessed):
    name = "sensitivity[source=a\x1b[2J\u202eb]"
    not_blessed.bounds = [{"metric": name, "at_least": 0.7, "value": 0.5, "passed": False}]
    not_blessed.leaks = not_blessed.drift = [f"source {name}"]
    not_blessed.cautions = not_blessed.shortcuts = [name]
    not_blessed.log = f"/work/{name}/run.log"
    text = printed(not_blessed)
    assert "\x1b" not in text
    assert "\u202e" not in text
    # In the table, under "Not pushed", four times as a line, and in the path.
    assert text.count(r"sensitivity[source=a\x1b[2J\u202eb]") == 7
    not_blessed.bounds, not_blessed.refused = [], name
    assert r"Not pushed: sensitivity[source=a\x1b[2J\u202eb]." in printed(not_blessed)


def test_an_interval_without_width_is_marked(not_blessed):
    not_blessed.metrics = {"auc": 1.0, "auc_lower": 1.0, "auc_upper": 1.0}
    rows = [line.split() for line in printed(not_blessed).splitlines()]
    assert ["auc", "1.000", "no", "spread"] in rows


def test_a_leak_alarm_says_what_to_look_for_until_it_is_accepted(not_blessed):
    not_blessed.bounds = [
        {"metric": "leak_alarm", "at_least": None, "at_most": 0.98, "value": 0.991, "passed": False}
    ]
    alarm = {"accepted": False, "says": "accuracy [of slices] is high", "reasons": ["Copies."]}
    not_blessed.leak_alarm = alarm
    text = printed(not_blessed)
    assert "Not pushed: leak_alarm 0.991 > 0.980." in text
    line = "Leak alarm: accuracy [of slices] is high: look for a leak between training and test"
    assert line in " ".join(text.split())
    assert "--accept-leak-alarm" in text
    assert "- Copies." in text
    text = printed(dataclasses.replace(not_blessed, leak_alarm={**alarm, "accepted": True}))
    assert "Leak alarm (accepted): accuracy" in text
    assert "Copies" not in text
    assert "--accept-leak-alarm" not in text


def test_a_pruning_is_said_also_where_nothing_was_new():
    summary = Summary("a", Verdict.NOTHING_NEW)
    assert "pruned" not in printed(summary)
    summary.pruned = {"versions": 2, "artifacts": 0, "checkpoints": 0, "logs": 1, "bytes": 3000}
    assert "pruned    2 versions (3.0 kB)" in printed(summary)
    summary.pruned = {"versions": 0, "artifacts": 0, "checkpoints": 0, "logs": 1, "bytes": 3000}
    assert "pruned    old files (3.0 kB)" in printed(summary)
    summary.pruned = {"versions": 0, "artifacts": 0, "checkpoints": 0, "logs": 0, "bytes": 0}
    assert printed(summary).splitlines()[-1] == "pruned    nothing"
    summary.pruned = {"error": "no space"}
    assert "Pruning stopped: no space" in printed(summary)
