import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from components.slice_evaluator import figures as names
from components.slice_evaluator.answers import Answers
from components.slice_evaluator.figures import COUNTS, FIGURES, figures
from trainer.calibration import expected_calibration_error

OF_PROBABILITIES = (names.AUC, names.AVERAGE_PRECISION, names.BRIER, names.CALIBRATION_ERROR)


def scikit_learn_figures(answers, weights=None):
    """The figures as scikit-learn has them, NaN where undefined; it knows no calibration error."""
    label, decision, probability = answers.label, answers.decision, answers.probability
    weighted = {"sample_weight": weights}

    def rate(score, positive):
        return score(
            label, decision, labels=[0, 1], pos_label=positive, zero_division=np.nan, **weighted
        )

    weight = np.ones(len(label)) if weights is None else weights
    present = [weight[label == one].sum() > 0 for one in (0, 1)]
    counts = metrics.confusion_matrix(label, decision, labels=[0, 1], **weighted).ravel()
    return {
        names.SENSITIVITY: rate(metrics.recall_score, 1),
        names.SPECIFICITY: rate(metrics.recall_score, 0),
        names.PPV: rate(metrics.precision_score, 1),
        names.NPV: rate(metrics.precision_score, 0),
        names.ACCURACY: metrics.accuracy_score(label, decision, **weighted),
        names.F1: rate(metrics.f1_score, 1),
        names.F1_NEGATIVE: rate(metrics.f1_score, 0),
        names.AUC: metrics.roc_auc_score(label, probability, **weighted)
        if all(present)
        else np.nan,
        names.AVERAGE_PRECISION: metrics.average_precision_score(label, probability, **weighted)
        if present[1]
        else np.nan,
        names.BRIER: metrics.brier_score_loss(label, probability, pos_label=1, **weighted),
        **dict(zip(COUNTS, counts.astype(float).tolist(), strict=True)),
    }


def assert_same(found, expected):
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12, rel=1e-12, nan_ok=True), name


@st.composite
def tied_answers(draw):
    """Answers of any labels and decisions, with ties and values at the edges of bins."""
    slices = draw(st.integers(1, 30))

    def column(values):
        return draw(st.lists(values, min_size=slices, max_size=slices))

    bits = st.integers(0, 1)
    probabilities = st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.6, 0.7, 0.95, 1.0]) | st.floats(0, 1)
    answers = Answers(
        column(bits), column(probabilities), column(bits), np.arange(slices), threshold=0.5
    )
    return answers, np.array(column(st.floats(0.01, 5.0) | st.integers(0, 3)), float)


@settings(max_examples=50, deadline=None)
@given(tied_answers())
def test_every_figure_is_scikit_learns(drawn):
    answers, _ = drawn
    found = figures(answers)
    assert set(found) == {*FIGURES, *COUNTS}
    assert_same(found, scikit_learn_figures(answers))


@settings(max_examples=50, deadline=None)
@given(tied_answers())
def test_every_weighted_figure_is_scikit_learns(drawn):
    answers, weights = drawn
    if weights.any():
        assert_same(figures(answers, weights), scikit_learn_figures(answers, weights))


@pytest.mark.parametrize("levels", [5, 10**9])
def test_many_answers_have_scikit_learns_figures_too(make_answers, levels):
    answers = make_answers(1, slices=3000, patients=300, levels=levels)
    weights = np.random.default_rng(2).gamma(2.0, size=3000)
    assert_same(figures(answers), scikit_learn_figures(answers))
    assert_same(figures(answers, weights), scikit_learn_figures(answers, weights))


@settings(max_examples=50, deadline=None)
@given(tied_answers())
def test_the_calibration_error_is_the_trainers(drawn):
    answers, weights = drawn
    expected = expected_calibration_error(answers.probability, answers.label)
    assert figures(answers)[names.CALIBRATION_ERROR] == pytest.approx(expected, abs=1e-12)
    times = weights.astype(int)
    if times.any():
        expected = expected_calibration_error(
            np.repeat(answers.probability, times), np.repeat(answers.label, times)
        )
        found = figures(answers, times)[names.CALIBRATION_ERROR]
        assert found == pytest.approx(expected, abs=1e-12)


def test_a_weight_is_a_number_of_copies(make_answers):
    answers = make_answers(3)
    times = np.random.default_rng(4).integers(0, 4, len(answers))
    copies = Answers(
        *(
            np.repeat(column, times)
            for column in (answers.label, answers.probability, answers.decision)
        ),
        np.arange(times.sum()),
        answers.threshold,
    )
    assert_same(figures(answers, times), figures(copies))


def test_the_order_of_rows_changes_no_bit(make_answers, reorder):
    answers = make_answers(5, slices=500, levels=50)
    for seed in range(5):
        assert figures(*reorder(seed, answers)) == figures(answers)


@pytest.mark.parametrize(
    ("label", "decision", "undefined"),
    [
        ([1, 1], [1, 0], {names.SPECIFICITY, names.AUC}),
        ([1, 1], [1, 1], {names.SPECIFICITY, names.AUC, names.NPV, names.F1_NEGATIVE}),
        ([0, 0], [1, 0], {names.SENSITIVITY, names.AUC, names.AVERAGE_PRECISION}),
        (
            [0, 0],
            [0, 0],
            {names.SENSITIVITY, names.AUC, names.AVERAGE_PRECISION, names.PPV, names.F1},
        ),
        ([1, 0], [0, 0], {names.PPV}),
        ([], [], set(FIGURES)),
    ],
)
def test_what_is_undefined_is_nan_without_a_warning(label, decision, undefined):
    answers = Answers(label, [0.7, 0.2][: len(label)], decision, range(len(label)), threshold=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = figures(answers)
    assert {name for name, value in found.items() if math.isnan(value)} == undefined
    assert [found[name] for name in COUNTS] == [
        sum(pair == (of_label, decided) for pair in zip(label, decision, strict=True))
        for of_label in (0, 1)
        for decided in (0, 1)
    ]


def test_weights_that_are_all_zero_leave_everything_undefined(make_answers):
    answers = make_answers(6)
    found = figures(answers, np.zeros(len(answers)))
    assert all(math.isnan(found[name]) for name in FIGURES)
    assert [found[name] for name in COUNTS] == [0.0] * 4


def test_a_model_without_a_number_has_no_figure_of_probabilities():
    answers = Answers([1, 0, 1], [0.7, 0.2, np.nan], [1, 0, 0], [0, 1, 2], threshold=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = figures(answers)
    assert {name for name, value in found.items() if math.isnan(value)} == set(OF_PROBABILITIES)
    assert (found[names.SENSITIVITY], found[names.SPECIFICITY]) == (0.5, 1.0)


@pytest.mark.parametrize("weights", [[1.0], [[1.0, 1.0]], [1.0, -1.0], [1.0, np.nan], [1, np.inf]])
def test_weights_that_are_none_are_refused(weights):
    answers = Answers([1, 0], [0.7, 0.2], [1, 0], [0, 1], threshold=0.5)
    with pytest.raises(ValueError, match="weights must be"):
        figures(answers, weights)
