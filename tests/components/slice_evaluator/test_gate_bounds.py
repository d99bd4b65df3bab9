"""What the gate asks of figures that are known."""

import dataclasses
import math

import pytest

from components.slice_evaluator.figures import ACCURACY, SENSITIVITY, SPECIFICITY
from components.slice_evaluator.gate import (
    Bounds,
    GateResult,
    Minimum,
    as_json,
    judge,
    judge_alarm,
)
from components.slice_evaluator.measured import Comparison, Figure, Part, UnitFigures
from components.slice_evaluator.paired_comparison import (
    DeLong,
    Difference,
    McNemar,
    PairedComparison,
)

NAN = math.nan
NOTHING = Bounds(Minimum(0.0), Minimum(0.0), max_regression=0.02)


def figures(count, sensitivity, specificity=(0.9, 0.85, 0.95), accuracy=0.9):
    return UnitFigures(
        count,
        {},
        {
            SENSITIVITY: Figure(*sensitivity),
            SPECIFICITY: Figure(*specificity),
            ACCURACY: Figure(accuracy, accuracy - 0.05, accuracy + 0.05),
        },
    )


def part(slices=(0.9, 0.8, 0.95), patients=(0.95, 0.7, 1.0), of=60, **more):
    return Part(
        small=False,
        slices=figures(2 * of, slices, **more),
        patients=figures(of, patients, **more),
        patients_of_both_labels=0,
    )


def judged(bounds, overall=None, groups=None):
    overall = overall or part()
    return judge(overall, groups or {}, judge_alarm(overall, bounds), bounds)


@pytest.mark.parametrize(
    ("minimum", "name", "value"),
    [
        (Minimum(0.9), "sensitivity", 0.9),
        (Minimum(0.8, of_lower_end=True), "sensitivity_lower", 0.8),
        (Minimum(0.95, unit="patients"), "patient_sensitivity", 0.95),
        (Minimum(0.7, True, "patients"), "patient_sensitivity_lower", 0.7),
    ],
)
def test_a_bound_is_on_the_figure_that_it_names(minimum, name, value):
    bound = judged(dataclasses.replace(NOTHING, min_sensitivity=minimum))[0]
    assert (bound.metric, bound.value, bound.passed) == (name, value, True)
    harder = dataclasses.replace(minimum, at_least=value + 1e-6)
    bound = judged(dataclasses.replace(NOTHING, min_sensitivity=harder))[0]
    assert (bound.at_least, bound.passed) == (value + 1e-6, False)


def test_an_undefined_figure_fails_even_a_bound_of_nothing():
    undefined = part(slices=(NAN, NAN, NAN))
    assert [one.passed for one in judged(NOTHING, undefined)] == [False, True]
    lower = dataclasses.replace(NOTHING, min_sensitivity=Minimum(0.0, of_lower_end=True))
    unknown = part(slices=(0.9, NAN, NAN))
    assert [one.passed for one in judged(lower, unknown)] == [False, True]


def test_a_bound_for_every_group_is_for_those_with_enough_patients():
    groups = {
        "sex": {"F": part(slices=(0.5, 0.4, 0.6), of=20), "M": part(of=40)},
        "age": {"<40": part(slices=(0.1, 0.0, 0.2), of=19)},
    }
    minimum = Minimum(0.8, every_group_of=20)
    results = judged(dataclasses.replace(NOTHING, min_sensitivity=minimum), groups=groups)
    assert [(one.metric, one.value, one.passed) for one in results] == [
        ("sensitivity", 0.9, True),
        ("sensitivity[sex=F]", 0.5, False),
        ("sensitivity[sex=M]", 0.9, True),
        ("specificity", 0.9, True),
    ]
    assert len(judged(NOTHING, groups=groups)) == 2


def test_a_group_of_negatives_alone_is_asked_for_no_sensitivity():
    controls = part(slices=(NAN, NAN, NAN), of=50)
    unsure = part(slices=(0.9, NAN, NAN), of=50)
    minimum = Minimum(0.8, of_lower_end=True, every_group_of=20)
    bounds = dataclasses.replace(NOTHING, min_sensitivity=minimum)
    results = judged(bounds, groups={"source": {"controls": controls, "ward": unsure}})
    # One whose interval is unknown has positives, and fails.
    assert [(one.metric, one.passed) for one in results[:-1]] == [
        ("sensitivity_lower", True),
        ("sensitivity_lower[source=ward]", False),
    ]


@pytest.mark.parametrize(
    ("change", "passed"), [(0.1, True), (-0.02, True), (-0.0201, False), (NAN, False)]
)
def test_a_model_may_lose_no_more_auc_than_the_bound_says(change, passed):
    difference = Difference(0.9, 0.9 + change, change, change - 0.01, change + 0.01)
    paired = PairedComparison(
        120,
        60,
        difference,
        difference,
        difference,
        DeLong(change, 0, 0, 1),
        McNemar(0, 0, 1),
    )
    overall = dataclasses.replace(part(), comparison=Comparison(paired, paired))
    bound = judged(NOTHING, overall)[-1]
    assert (bound.metric, bound.at_least, bound.passed) == ("auc_change", -0.02, passed)


def test_the_leak_alarm_is_a_bound_until_it_is_accepted():
    suspicious = part(accuracy=0.99, of=51)
    (*others, bound) = judged(NOTHING, suspicious)
    assert (bound.metric, bound.value, bound.at_most) == ("leak_alarm", 0.99, 0.98)
    assert not bound.passed
    assert all(one.passed for one in others)
    assert not GateResult({}, [*others, bound]).passed
    for bounds, overall in (
        (dataclasses.replace(NOTHING, accept_leak_alarm=True), suspicious),
        (dataclasses.replace(NOTHING, leak_alarm=None), suspicious),
        (dataclasses.replace(NOTHING, leak_alarm=0.99), suspicious),
        (NOTHING, part(accuracy=0.99, of=50)),
    ):
        assert [one.metric for one in judged(bounds, overall)] == ["sensitivity", "specificity"]


def test_who_accepts_an_alarm_that_did_not_go_off_has_accepted_nothing():
    accepting = dataclasses.replace(NOTHING, accept_leak_alarm=True)
    assert not judge_alarm(part(), accepting).accepted
    assert judge_alarm(part(accuracy=0.99), accepting).accepted


def test_bounds_come_back_from_their_text_and_equal_ones_give_equal_text():
    bounds = Bounds(Minimum(0.7, True, "patients", 20), Minimum(0.8), 0.0, None, True)
    assert Bounds.from_json(bounds.to_json()) == bounds
    assert bounds.to_json() != dataclasses.replace(bounds, accept_leak_alarm=False).to_json()


def test_programs_see_an_upper_bound_only_where_there_is_one():
    bounds = as_json(judged(NOTHING, part(accuracy=0.99)))
    assert [set(one) for one in bounds] == [
        {"metric", "at_least", "value", "passed"},
        {"metric", "at_least", "value", "passed"},
        {"metric", "at_least", "value", "passed", "at_most"},
    ]
