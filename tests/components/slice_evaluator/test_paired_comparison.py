import math
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from components.slice_evaluator import figures as names
from components.slice_evaluator.answers import Answers
from components.slice_evaluator.figures import figures
from components.slice_evaluator.paired_comparison import compare, delong, mcnemar
from components.slice_evaluator.patient_bootstrap import interval, resample
from transform.errors import BadDataError


def noisier(answers, noise, seed=0, threshold=0.4):
    """Another model, whose answers are those of one with something added."""
    generator = np.random.default_rng(seed)
    added = generator.normal(scale=noise, size=len(answers))
    probability = np.round(np.clip(answers.probability + added, 0.0, 1.0), 1)
    return Answers(answers.label, probability, probability >= threshold, answers.patient, threshold)


def of_labels_and_decisions(label, decision):
    rows = len(label)
    return Answers(label, np.full(rows, 0.5), decision, np.arange(rows), threshold=0.5)


def kernel(positive, negative):
    """Whether a positive ranks above a negative, 1/2 for ties, pair by pair."""
    return np.array(
        [[1.0 if p > n else 0.5 if p == n else 0.0 for n in negative] for p in positive]
    )


def brute_force_delong(baseline, candidate):
    """DeLong's equations with every pair compared, and the 2 x 2 covariance written out."""
    positive = baseline.label == 1
    kernels = [
        kernel(model.probability[positive], model.probability[~positive])
        for model in (baseline, candidate)
    ]
    of_positives = np.cov([one.mean(axis=1) for one in kernels])
    of_negatives = np.cov([one.mean(axis=0) for one in kernels])
    covariance = of_positives / positive.sum() + of_negatives / (~positive).sum()
    difference = kernels[1].mean() - kernels[0].mean()
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    normal = stats.norm(difference, error)
    return difference, *normal.interval(0.95), 2 * stats.norm.sf(abs(difference) / error)


@pytest.mark.parametrize("seed", range(5))
def test_delongs_test_is_that_of_every_pair(make_answers, seed):
    baseline = make_answers(seed, slices=70, levels=10)
    candidate = noisier(baseline, 0.2, seed)
    found = delong(baseline, candidate)
    expected = brute_force_delong(baseline, candidate)
    assert (found.difference, found.lower, found.upper, found.p_value) == pytest.approx(
        expected, abs=1e-12
    )
    assert found.difference == pytest.approx(
        roc_auc_score(candidate.label, candidate.probability)
        - roc_auc_score(baseline.label, baseline.probability),
        abs=1e-12,
    )


def test_delongs_p_value_is_uniform_where_models_are_alike():
    generator = np.random.default_rng(1)
    label = np.repeat([0, 1], 60)
    p_values = []
    for _ in range(500):
        latent = label + generator.normal(size=120)
        models = [
            Answers(
                label,
                1.0 / (1.0 + np.exp(-latent - generator.normal(size=120))),
                label,
                np.arange(120),
                0.5,
            )
            for _ in range(2)
        ]
        p_values.append(delong(*models).p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_a_model_does_not_differ_from_itself(make_answers):
    answers = make_answers(1)
    found = compare(answers, answers, resamples=50, seed=1)
    for figure in (found.auc, found.sensitivity, found.specificity):
        assert (figure.difference, figure.lower, figure.upper) == (0.0, 0.0, 0.0)
    assert (found.delong.difference, found.delong.p_value) == (0.0, 1.0)
    assert (found.delong.lower, found.delong.upper) == (0.0, 0.0)
    assert (found.mcnemar.only_baseline_right, found.mcnemar.only_candidate_right) == (0, 0)
    assert found.mcnemar.p_value == 1.0


def test_aucs_without_variance_have_no_p_value():
    label, patient = [0, 0, 1, 1], range(4)
    perfect = Answers(label, [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], patient, threshold=0.5)
    wrong = Answers(label, [0.8, 0.9, 0.1, 0.2], [1, 1, 0, 0], patient, threshold=0.5)
    found = delong(perfect, wrong)
    assert found.difference == -1.0
    assert np.isnan([found.lower, found.upper, found.p_value]).all()


@pytest.mark.parametrize("label", [[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], []])
def test_too_few_of_a_class_leave_delongs_test_undefined(label):
    rows = len(label)
    answers = Answers(label, [0.1, 0.2, 0.8, 0.9][:rows], [0] * rows, range(rows), threshold=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = delong(answers, answers)
    assert np.isnan([found.difference, found.lower, found.upper, found.p_value]).all()


def test_a_model_without_a_number_leaves_delongs_test_undefined(make_answers):
    answers = make_answers(2)
    probability = np.where(np.arange(len(answers)) == 3, np.nan, answers.probability)
    broken = Answers(answers.label, probability, answers.decision, answers.patient, 0.4)
    found = delong(answers, broken)
    assert np.isnan([found.difference, found.lower, found.upper, found.p_value]).all()


def test_mcnemars_test_counts_what_one_model_alone_gets_right():
    label = [1, 1, 1, 1, 0, 0, 0, 0, 0]
    baseline = of_labels_and_decisions(label, [1, 0, 0, 0, 0, 1, 1, 1, 0])
    candidate = of_labels_and_decisions(label, [0, 1, 1, 1, 0, 0, 0, 1, 0])
    found = mcnemar(baseline, candidate)
    assert (found.only_baseline_right, found.only_candidate_right) == (1, 5)
    # Of six tosses of a coin: none, one, five or six, (1 + 6 + 6 + 1) / 64.
    assert found.p_value == pytest.approx(14 / 64)
    assert mcnemar(candidate, baseline).p_value == pytest.approx(14 / 64)


def test_every_difference_is_candidate_minus_baseline(make_answers):
    baseline = make_answers(3, slices=300, patients=150)
    candidate = noisier(baseline, 1.0, threshold=0.6)
    found = compare(baseline, candidate, resamples=400, seed=1)
    assert (found.rows, found.patients) == (300, 150)
    before, after = figures(baseline), figures(candidate)
    for name, figure in (
        (names.AUC, found.auc),
        (names.SENSITIVITY, found.sensitivity),
        (names.SPECIFICITY, found.specificity),
    ):
        assert (figure.baseline, figure.candidate) == (before[name], after[name])
        assert figure.difference == after[name] - before[name]
        assert figure.lower <= figure.difference <= figure.upper
        assert figure.lower < figure.upper
    assert found.auc.upper < 0.0
    assert found.sensitivity.upper < 0.0
    assert found.delong.difference == pytest.approx(found.auc.difference, abs=1e-12)
    turned = compare(candidate, baseline, resamples=400, seed=1)
    assert turned.auc.difference == -found.auc.difference
    assert turned.delong.lower == pytest.approx(-found.delong.upper)


def test_pairing_makes_intervals_of_models_alike_narrow(make_answers):
    baseline = make_answers(4, slices=200, patients=80, levels=100)
    candidate = noisier(baseline, 0.01)
    paired = compare(baseline, candidate, resamples=300, seed=1).auc
    apart = resample(candidate, 300, seed=1)[names.AUC] - resample(baseline, 300, seed=2)[names.AUC]
    lower, upper = interval(apart)
    assert paired.upper - paired.lower < 0.3 * (upper - lower)


def test_where_patients_have_one_slice_bootstrap_and_delong_agree(make_answers):
    baseline = make_answers(6, slices=400, patients=400, levels=1000)
    candidate = noisier(baseline, 0.2)
    found = compare(baseline, candidate, resamples=2000, seed=1)
    width = found.auc.upper - found.auc.lower
    assert width == pytest.approx(found.delong.upper - found.delong.lower, rel=0.15)
    assert found.auc.lower == pytest.approx(found.delong.lower, abs=0.1 * width)


def test_the_order_of_rows_changes_no_bit(make_answers, reorder):
    baseline = make_answers(7)
    candidate = noisier(baseline, 0.2)
    expected = compare(baseline, candidate, resamples=30, seed=1)
    for seed in range(3):
        assert compare(*reorder(seed, baseline, candidate), resamples=30, seed=1) == expected


def test_one_patient_has_no_interval():
    answers = Answers([1, 0, 1], [0.8, 0.3, 0.1], [1, 0, 0], [0, 0, 0], threshold=0.5)
    found = compare(answers, answers, resamples=10, seed=1)
    assert found.auc.difference == 0.0
    assert np.isnan([found.auc.lower, found.auc.upper]).all()


@pytest.mark.parametrize("changed", ["label", "patient", "rows"])
@pytest.mark.parametrize("test", [delong, mcnemar, lambda *both: compare(*both, 10, 1)])
def test_models_of_different_slices_are_not_compared(changed, test):
    columns = {"label": [1, 0, 1], "patient": [0, 1, 1]}
    answers = Answers(**columns, probability=[0.5] * 3, decision=[1] * 3, threshold=0.5)
    if changed == "rows":
        other = answers.where(np.array([True, True, False]))
    else:
        columns[changed] = {"label": [1, 1, 1], "patient": [0, 0, 1]}[changed]
        other = Answers(**columns, probability=[0.5] * 3, decision=[1] * 3, threshold=0.5)
    with pytest.raises(BadDataError, match="cannot be compared"):
        test(answers, other)
