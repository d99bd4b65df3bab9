import math
import warnings

import numpy as np
import pytest
from sklearn import metrics

from components.slice_evaluator import figures as names
from components.slice_evaluator import patient_bootstrap
from components.slice_evaluator.answers import Answers, by_patient
from components.slice_evaluator.figures import COUNTS, FIGURES, figures
from components.slice_evaluator.patient_bootstrap import (
    draws,
    interval,
    intervals,
    patient_ranks,
    resample,
    resample_together,
)


def plain_bootstrap(answers, resamples, seed):
    """The figures by scikit-learn on the concatenated slices of drawn patients."""
    generator = np.random.default_rng(seed)
    slices_of = [np.flatnonzero(answers.patient == one) for one in range(answers.patients)]
    found = {name: [] for name in (names.AUC, names.AVERAGE_PRECISION, names.BRIER, names.F1)}
    found |= {name: [] for name in (names.SENSITIVITY, names.SPECIFICITY)}
    for _ in range(resamples):
        patients = generator.choice(answers.patients, answers.patients)
        rows = np.concatenate([slices_of[one] for one in patients])
        label, decision = answers.label[rows], answers.decision[rows]
        probability = answers.probability[rows]
        found[names.AUC].append(metrics.roc_auc_score(label, probability))
        found[names.AVERAGE_PRECISION].append(metrics.average_precision_score(label, probability))
        found[names.BRIER].append(metrics.brier_score_loss(label, probability))
        found[names.F1].append(metrics.f1_score(label, decision))
        found[names.SENSITIVITY].append(metrics.recall_score(label, decision))
        found[names.SPECIFICITY].append(metrics.recall_score(label, decision, pos_label=0))
    return {name: np.array(values) for name, values in found.items()}


def quantile_error(values, share):
    """Standard error of a quantile, from the spread of the order statistics around it."""
    wide = math.sqrt(share * (1.0 - share) / len(values))
    low, high = np.quantile(values, np.clip([share - wide, share + wide], 0.0, 1.0))
    return (high - low) / 2.0


@pytest.mark.slow
def test_intervals_are_those_of_a_plain_bootstrap(make_answers):
    answers = make_answers(1, slices=200, patients=60)
    plain = plain_bootstrap(answers, 500, seed=2)
    ours = resample(answers, 2000, seed=3)
    ends = intervals(answers, 2000, seed=3)
    for name, values in plain.items():
        error = values.std() * math.sqrt(1 / 500 + 1 / 2000)
        assert abs(values.mean() - ours[name].mean()) < 4.0 * error, name
        assert ours[name].std() == pytest.approx(values.std(), rel=0.15), name
        for end, share in zip(ends[name], (0.025, 0.975), strict=True):
            error = math.hypot(quantile_error(values, share), quantile_error(ours[name], share))
            assert abs(np.quantile(values, share) - end) < 4.0 * error + 1e-9, name


def test_a_resample_has_the_figures_of_the_patients_that_were_drawn(make_answers):
    answers = make_answers(4)
    found = resample(answers, 20, seed=5)
    (times,) = draws(answers.patients, 20, seed=5, block=20)
    for row, weights in enumerate(times[:, patient_ranks([answers])]):
        for name, value in figures(answers, weights).items():
            assert found[name][row] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_patients_are_drawn_with_replacement_as_often_as_there_are():
    (times,) = draws(30, 4000, seed=1, block=4000)
    assert (times.sum(axis=1) == 30).all()
    assert times.mean(axis=0) == pytest.approx(np.ones(30), abs=0.08)
    # Binomial: 30 draws, each patient with a chance of 1 in 30.
    assert times.var() == pytest.approx(1.0 - 1.0 / 30.0, abs=0.02)
    assert np.mean(times == 0) == pytest.approx((1.0 - 1.0 / 30.0) ** 30, abs=0.01)


def test_slices_of_a_patient_are_drawn_together(make_answers):
    answers = make_answers(7, slices=400, patients=20)
    slices_alone = Answers(
        answers.label,
        answers.probability,
        answers.decision,
        np.arange(400),
        answers.threshold,
    )
    drawn = [resample(one, 500, seed=0)[names.AUC] for one in (answers, slices_alone)]
    wide, narrow = (np.nanstd(values) for values in drawn)
    assert wide > 1.5 * narrow


def test_the_same_seed_gives_the_same_and_another_does_not(make_answers):
    answers = make_answers(8)
    first, again, other = (resample(answers, 30, seed) for seed in (1, 1, 2))
    for name in (*FIGURES, *COUNTS):
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name]), name


@pytest.mark.parametrize("block", [1, 601, 60 * 7, 10**9])
def test_the_size_of_a_block_changes_no_bit(make_answers, monkeypatch, block):
    answers = make_answers(9, levels=1000)
    expected = resample(answers, 50, seed=1)
    monkeypatch.setattr(patient_bootstrap, "_BLOCK", block)
    found = resample(answers, 50, seed=1)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], name)


@pytest.mark.parametrize("levels", [4, 1000])
def test_neither_the_order_of_rows_nor_names_of_patients_change_a_bit(
    make_answers, reorder, levels
):
    answers = make_answers(10, slices=120, patients=25, levels=levels)
    expected = resample(answers, 40, seed=1)
    for seed in range(4):
        found = resample(*reorder(seed, answers), 40, seed=1)
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], name)


def test_the_place_of_a_patient_is_that_of_the_answers(make_answers, reorder):
    """Neither rows nor codes tell where a patient stands; patients alike stand side by side."""

    def answers_by_place(*several):
        ranks = patient_ranks(several)
        columns = np.stack(
            [several[0].label, *(one.probability for one in several)]
            + [one.decision for one in several]
        )
        assert sorted(set(ranks)) == list(range(several[0].patients))
        return [sorted(map(tuple, columns[:, ranks == place].T)) for place in range(ranks.max())]

    # Few levels and few slices, so that some patients are alike.
    one, other = (
        make_answers(14, slices=60, patients=40, levels=2),
        make_answers(14, 60, 40, 2, 0.7),
    )
    expected = answers_by_place(one, other)
    assert len(set(map(tuple, expected))) < len(expected)
    for seed in range(4):
        assert answers_by_place(*reorder(seed, one, other)) == expected


def test_zeros_of_either_sign_make_no_other_patient():
    label, decision, patient = [1, 0, 0], [1, 0, 0], [0, 1, 2]
    plus, minus = (Answers(label, [0.9, 0.2, zero], decision, patient, 0.5) for zero in (0.0, -0.0))
    assert patient_ranks([plus]).tolist() == patient_ranks([minus]).tolist()


def test_models_are_resampled_with_the_same_patients(make_answers):
    answers = make_answers(11)
    better = Answers(
        answers.label,
        (answers.probability + answers.label) / 2.0,
        answers.label,
        answers.patient,
        answers.threshold,
    )
    one, other = resample_together([answers, better], 50, seed=1)
    positives, negatives = one[names.TP] + one[names.FN], one[names.TN] + one[names.FP]
    assert len(set(positives)) > 5
    np.testing.assert_array_equal(positives, other[names.TP])
    np.testing.assert_array_equal(negatives, other[names.TN])


def test_patients_instead_of_slices_can_be_resampled(make_answers):
    patients = by_patient(make_answers(12))
    found = resample(patients, 100, seed=1)
    assert (sum(found[name] for name in COUNTS) == patients.patients).all()


def test_a_resample_without_a_class_is_nan_without_a_warning():
    answers = Answers([1, 0, 0], [0.8, 0.3, 0.1], [1, 0, 0], [0, 1, 2], threshold=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = resample(answers, 200, seed=1)
    missing = (found[names.TP] + found[names.FN] == 0) | (found[names.TN] + found[names.FP] == 0)
    assert 20 < missing.sum() < 180
    np.testing.assert_array_equal(np.isnan(found[names.AUC]), missing)


def test_a_split_of_one_class_has_no_interval_where_a_figure_is_undefined():
    answers = Answers([0] * 6, np.linspace(0, 1, 6), [0, 0, 0, 1, 1, 1], range(6), threshold=0.5)
    ends = intervals(answers, 100, seed=1)
    for name in (names.SENSITIVITY, names.AUC, names.AVERAGE_PRECISION):
        assert np.isnan(ends[name]).all(), name
    lower, upper = ends[names.SPECIFICITY]
    assert lower < 0.5 < upper


def test_an_interval_leaves_out_what_is_undefined():
    values = np.array([*np.linspace(0.0, 1.0, 101), *[np.nan] * 101])
    assert interval(values) == pytest.approx((0.025, 0.975))
    assert interval(values, confidence=0.5) == pytest.approx((0.25, 0.75))


def test_an_interval_of_what_is_mostly_undefined_is_undefined():
    assert np.isnan(interval(np.array([0.1, 0.2, np.nan, np.nan, np.nan]))).all()
    assert np.isnan(interval(np.array([]))).all()


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_that_is_no_share_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        interval(np.array([0.1, 0.2]), confidence)


def test_no_resample_is_refused(make_answers):
    with pytest.raises(ValueError, match="resamples"):
        resample(make_answers(1), 0, seed=1)


def test_one_patient_has_no_interval():
    answers = Answers([1, 0, 1], [0.8, 0.3, 0.1], [1, 0, 0], [0, 0, 0], threshold=0.5)
    assert np.isnan(list(intervals(answers, 10, seed=1).values())).all()


def test_no_slice_has_no_figure():
    answers = Answers([], [], [], [], threshold=np.nan)
    found = resample(answers, 10, seed=1)
    assert {len(values) for values in found.values()} == {10}
    assert np.isnan([found[name] for name in FIGURES]).all()


def test_a_model_without_a_number_can_be_resampled(make_answers):
    answers = make_answers(13)
    probability = answers.probability.copy()
    probability[5] = np.nan
    broken = Answers(answers.label, probability, answers.decision, answers.patient, 0.4)
    found = resample(broken, 20, seed=1)
    assert np.isnan(found[names.AUC]).all()
    assert not np.isnan(found[names.ACCURACY]).any()
