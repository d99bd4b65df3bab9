"""What the probes mean to the gate, where a shortcut is to refuse the model."""

import math

import pytest

from components.run_facts.wording import metric_name
from components.shortcut_probes.outcome import (
    BORDER_ONLY,
    FILE_FEATURES,
    LUNGS_BLANKED,
    PROBES,
    SUSPICIOUS_AUC,
    Probe,
    ProbeResults,
)
from components.slice_evaluator.figures import ACCURACY, SENSITIVITY, SPECIFICITY
from components.slice_evaluator.gate import Bounds, Minimum, judge, judge_alarm
from components.slice_evaluator.measured import Figure, Part, UnitFigures

NOTHING = Bounds(Minimum(0.0), Minimum(0.0), max_regression=0.02)
UNIT = UnitFigures(
    60, {}, {name: Figure(0.9, 0.8, 0.95) for name in (SENSITIVITY, SPECIFICITY, ACCURACY)}
)
OVERALL = Part(small=False, slices=UNIT, patients=UNIT, patients_of_both_labels=0)


def probed(**intervals):
    """Probes with these intervals; the others have one around 0.5."""
    probes = []
    for name in PROBES:
        low, high = intervals.get(name, (0.4, 0.6))
        auc = None if low is None else (low + high) / 2.0
        probes.append(Probe(name, name, 60, 30, auc, low, high, suspicious=False, sentence=""))
    return ProbeResults(tuple(probes), slices=60, without_lungs=0, lungs_in_border=0.0)


def judged(probes):
    results = judge(OVERALL, {}, judge_alarm(OVERALL, NOTHING), NOTHING, probes)
    return {one.metric: one for one in results if one.metric.startswith("shortcut")}


def test_a_model_without_a_shortcut_keeps_a_bound_for_each_way_of_asking_it():
    results = judged(probed())
    assert list(results) == ["shortcut[lungs_blanked]", "shortcut[border_only]"]
    for one in results.values():
        assert (one.at_least, one.at_most, one.passed) == (None, SUSPICIOUS_AUC, True)
        assert one.value == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("interval", "value", "passed"),
    [
        ((0.7, 0.9), 0.7, False),
        ((0.59, 0.9), 0.59, True),
        ((0.61, 0.62), 0.61, False),
        # The wrong way round.
        ((0.1, 0.3), 0.7, False),
        ((0.1, 0.45), 0.55, True),
    ],
)
@pytest.mark.parametrize("name", [LUNGS_BLANKED, BORDER_ONLY])
def test_what_is_certain_of_an_auc_without_the_lungs_decides(name, interval, value, passed):
    results = judged(probed(**{name: interval}))
    found = results.pop(f"shortcut[{name}]")
    assert (found.value, found.passed) == (pytest.approx(value), passed)
    assert [one.passed for one in results.values()] == [True]


def test_a_probe_that_can_say_nothing_fails_as_any_undefined_figure_does():
    found = judged(probed(lungs_blanked=(None, None)))["shortcut[lungs_blanked]"]
    assert math.isnan(found.value)
    assert not found.passed


def test_what_files_say_is_no_fault_of_the_model():
    assert all(one.passed for one in judged(probed(**{FILE_FEATURES: (0.9, 1.0)})).values())


def test_without_probes_there_is_no_such_bound():
    assert judged(None) == {}


def test_a_bound_has_a_name_for_people():
    assert metric_name("shortcut[border_only]") == (
        "AUC without the lungs, either way round, at the least by its 95 % interval (border_only)"
    )
