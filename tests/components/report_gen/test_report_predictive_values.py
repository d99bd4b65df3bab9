import math

import pytest

from components.report_gen.predictive_values import (
    PREVALENCES,
    npv_at,
    ppv_at,
    predictive_values,
    table,
)
from components.slice_evaluator.measured import Figure, UnitFigures


def unit(sensitivity, specificity):
    figures = {"sensitivity": Figure(*sensitivity), "specificity": Figure(*specificity)}
    return UnitFigures(100, {}, figures)


def test_predictive_values_at_a_known_prevalence():
    # Of 1000 people 100 are ill: 90 of them and 180 of the 900 others are called positive.
    assert ppv_at(0.1, 0.9, 0.8) == pytest.approx(90 / 270)
    assert npv_at(0.1, 0.9, 0.8) == pytest.approx(720 / 730)


def test_at_the_prevalence_of_the_split_they_are_the_splits_own(not_pushed):
    slices = not_pushed.facts.evaluation.overall.slices
    counts = slices.confusion
    tp, fp, tn, fn = (counts[name] for name in ("tp", "fp", "tn", "fn"))
    prevalence = (tp + fn) / (tp + fp + tn + fn)
    assert ppv_at(prevalence, tp / (tp + fn), tn / (tn + fp)) == pytest.approx(
        slices.figures["ppv"].value
    )
    assert npv_at(prevalence, tp / (tp + fn), tn / (tn + fp)) == pytest.approx(
        slices.figures["npv"].value
    )


def test_ranges_go_from_both_lower_ends_to_both_upper_ends():
    found = predictive_values(unit((0.9, 0.8, 0.95), (0.8, 0.7, 0.9)), 0.1)
    assert found.ppv == Figure(ppv_at(0.1, 0.9, 0.8), ppv_at(0.1, 0.8, 0.7), ppv_at(0.1, 0.95, 0.9))
    assert found.npv.lower < found.npv.value < found.npv.upper


def test_a_model_that_calls_nothing_positive_has_no_positive_predictive_value():
    found = predictive_values(unit((0.0, 0.0, 0.1), (1.0, 0.9, 1.0)), 0.1)
    assert math.isnan(found.ppv.value)
    assert found.npv.value == pytest.approx(0.9)


def test_the_table_has_both_units_at_every_prevalence(not_pushed):
    rows = table(not_pushed.facts)
    assert [prevalence for prevalence, _ in rows] == list(PREVALENCES)
    overall = not_pushed.facts.evaluation.overall
    for prevalence, by_unit in rows:
        for name in ("slices", "patients"):
            assert by_unit[name] == predictive_values(overall.of(name), prevalence)
