"""Intervals by bootstrap that are no narrower than exact where few patients err."""

import numpy as np
import pytest
from scipy import stats

from components.slice_evaluator import patient_bootstrap
from components.slice_evaluator.answers import Answers, by_patient
from components.slice_evaluator.confidence_intervals import clopper_pearson, confidence_intervals

SHARES = ("sensitivity", "specificity", "ppv", "npv", "accuracy")


def answers_of(positives, missed, slices=1, negatives=30, called=10):
    """Patients of several slices each; of the missed ones all slices are."""
    label = np.repeat([1] * positives + [0] * negatives, slices)
    decision = np.repeat(
        [0] * missed + [1] * (positives - missed) + [1] * called + [0] * (negatives - called),
        slices,
    )
    patient = np.repeat(np.arange(positives + negatives), slices)
    return Answers(label, np.where(decision == 1, 0.9, 0.1), decision, patient, 0.5)


@pytest.mark.parametrize("right", [0, 1, 17, 29, 30])
def test_the_exact_interval_is_that_of_scipy(right):
    exact = stats.binomtest(right, 30).proportion_ci(0.95, method="exact")
    assert clopper_pearson(right, 30) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_the_exact_interval_moves_with_shares_of_trials():
    lower = [clopper_pearson(right, 30)[0] for right in (28.0, 28.5, 29.0, 29.7, 30.0)]
    assert lower == sorted(lower)
    assert len(set(lower)) == 5


def test_where_nothing_was_missed_the_interval_is_exact_over_patients():
    perfect = answers_of(30, 0, slices=4)
    assert patient_bootstrap.intervals(perfect, 100, 0)["sensitivity"] == (1.0, 1.0)
    lower, upper = confidence_intervals(perfect, 100, 0)["sensitivity"]
    assert lower == pytest.approx(0.025 ** (1 / 30))
    assert upper == 1.0
    # More slices of the same patients prove nothing more.
    assert confidence_intervals(answers_of(30, 0), 100, 0)["sensitivity"] == (lower, upper)


def test_where_everything_was_missed_the_upper_end_is_exact():
    lower, upper = confidence_intervals(answers_of(30, 30), 100, 0)["sensitivity"]
    assert lower == 0.0
    assert upper == pytest.approx(1.0 - 0.025 ** (1 / 30))


@pytest.mark.parametrize("missed", [0, 1, 2, 3, 4])
def test_where_few_were_missed_the_lower_end_is_the_exact_one(missed):
    few = answers_of(30, missed, slices=2)
    lower, upper = confidence_intervals(few, 400, 0)["sensitivity"]
    exact = clopper_pearson(30 - missed, 30)
    assert lower == pytest.approx(exact[0])
    assert upper >= exact[1]
    assert lower < patient_bootstrap.intervals(few, 400, 0)["sensitivity"][0]


@pytest.mark.parametrize("patients", [30, 100])
def test_missing_one_patient_more_does_not_raise_the_lower_end(patients):
    lower = [
        confidence_intervals(answers_of(patients, missed), 4000, 0)["sensitivity"][0]
        for missed in range(10)
    ]
    # But for the step from the exact interval to the bootstrap's, at five.
    rises = np.diff(lower)
    assert rises[[0, 1, 2, 3, 5, 6, 7, 8]].max() < 0.0
    assert rises[4] < 0.005


def test_with_enough_patients_right_and_wrong_the_interval_is_the_bootstraps(make_answers):
    answers = make_answers(1, slices=400, patients=150)
    for rows in (answers, by_patient(answers)):
        found = confidence_intervals(rows, 200, 3)
        assert found == patient_bootstrap.intervals(rows, 200, 3)
    few = make_answers(4, slices=30, patients=12)
    found, plain = confidence_intervals(few, 200, 3), patient_bootstrap.intervals(few, 200, 3)
    wider = {name for name in found if found[name] != plain[name]}
    assert wider
    assert wider <= set(SHARES)
    for name in wider:
        assert found[name][0] <= plain[name][0] <= plain[name][1] <= found[name][1]


def test_one_patient_alone_has_no_interval():
    alone = answers_of(1, 0, slices=3, negatives=0, called=0)
    assert np.isnan(confidence_intervals(alone, 50, 0)["sensitivity"]).all()
