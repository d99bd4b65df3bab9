"""The record of an evaluation, written and read."""

import dataclasses
import json

import pytest

from components.slice_evaluator.answers import by_patient
from components.slice_evaluator.confidence_intervals import confidence_intervals
from components.slice_evaluator.evaluation import FILE, Evaluation, read_evaluation
from components.slice_evaluator.figures import COUNTS, FIGURES, figures
from components.slice_evaluator.gate import Bounds, Minimum, judge, judge_alarm
from components.slice_evaluator.measured import Comparison, Figure, Part, UnitFigures
from components.slice_evaluator.paired_comparison import compare
from components.slice_evaluator.paired_names import flatten, is_there, unflatten
from transform.errors import ConfigError


def unit(answers):
    found, ends = figures(answers), confidence_intervals(answers, 20, 0)
    return UnitFigures(
        len(answers),
        {name: int(found[name]) for name in COUNTS},
        {name: Figure(found[name], *ends[name]) for name in FIGURES},
    )


@pytest.fixture
def evaluation(make_answers):
    answers, other = make_answers(0), make_answers(0, threshold=0.7)
    both = compare(other, answers, 20, 0), compare(by_patient(other), by_patient(answers), 20, 0)
    overall = Part(False, unit(answers), unit(by_patient(answers)), 0, Comparison(*both))
    negatives = answers.where(answers.label == 0)
    # Undefined figures: nothing positive, and one patient.
    controls = Part(True, unit(negatives), unit(by_patient(negatives)), 0)
    bounds = Bounds(Minimum(0.9), Minimum(0.1), 0.02, leak_alarm=None)
    alarm = judge_alarm(overall, bounds)
    groups = {"sex": {"F": overall, "unknown": controls}, "age": {}}
    results = judge(overall, groups, alarm, bounds)
    return Evaluation(False, 0.4, 0.95, 20, 0, results, alarm, overall, groups)


def test_what_was_written_is_read(evaluation, tmp_path):
    (tmp_path / FILE).write_text(evaluation.to_json())
    # NaN equals nothing, but its text is the same.
    again = read_evaluation(tmp_path)
    assert repr(again) == repr(evaluation)
    assert "nan" in repr(again)
    assert again.overall == evaluation.overall


def test_a_record_is_read_without_its_groups_where_nobody_asks_for_them(evaluation, tmp_path):
    (tmp_path / FILE).write_text(evaluation.to_json())
    again = read_evaluation(tmp_path, groups=False)
    assert again.groups == {}
    assert repr(again) == repr(dataclasses.replace(evaluation, groups={}))


def test_the_figures_of_the_whole_split_go_by_their_names(evaluation):
    metrics = evaluation.gate.metrics
    overall = evaluation.overall
    assert list(metrics)[:2] == ["sensitivity", "specificity"]
    assert metrics["sensitivity"] == overall.slices.figures["sensitivity"].value
    assert metrics["patient_auc_upper"] == overall.patients.figures["auc"].upper
    assert metrics["patient_tp"] == overall.patients.confusion["tp"]
    assert metrics["example_count"] == 60.0
    assert metrics["patients"] == 17.0
    assert len(metrics) == 2 * (3 * len(FIGURES) + len(COUNTS)) + 2


def test_a_comparison_survives_as_numbers_with_names(evaluation):
    paired = evaluation.overall.comparison.slices
    named = flatten(paired)
    assert all(isinstance(value, float) for value in named.values())
    assert unflatten(named) == paired
    assert is_there(named)
    assert not is_there(evaluation.gate.metrics)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"passed": true, "colour": "red"}'])
def test_a_record_that_cannot_be_read_is_one_line_that_says_what_to_do(text, tmp_path):
    if text is not None:
        (tmp_path / FILE).write_text(text)
    for groups in (True, False):
        with pytest.raises(ConfigError, match="start the run again") as caught:
            read_evaluation(tmp_path, groups=groups)
        assert "\n" not in str(caught.value)


def test_the_record_is_for_other_programs_too(evaluation):
    values = json.loads(evaluation.to_json())
    assert values["overall"]["patients"]["figures"]["auc"].keys() == {"value", "lower", "upper"}
    assert values["groups"]["sex"]["unknown"]["slices"]["figures"]["auc"]["value"] is None
    assert values["groups"]["sex"]["unknown"]["comparison"] is None
    names = {field.name for field in dataclasses.fields(Evaluation)}
    assert set(values) == names
