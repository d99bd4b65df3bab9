"""Temperature scaling and the calibration error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.calibration import (
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
    reliability_bins,
)


def calibrated(count=20000):
    """Logits whose sigmoid is the true frequency, and labels drawn accordingly."""
    generator = np.random.default_rng(1)
    logits = generator.normal(0.0, 2.0, count)
    labels = (generator.uniform(size=count) < 1.0 / (1.0 + np.exp(-logits))).astype(int)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_spoilt_the_logits_is_found_again(temperature):
    logits, labels = calibrated()
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_calibration_makes_overconfident_probabilities_mean_what_they_say():
    logits, labels = calibrated()
    overconfident = 3.0 * logits
    before = expected_calibration_error(probabilities(overconfident, 1.0), labels)
    fitted = probabilities(overconfident, fit_temperature(overconfident, labels))
    assert before > 0.05
    assert expected_calibration_error(fitted, labels) < 0.015


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.array([-3.0, -1.0, 1.0, 3.0]), np.array([0, 0, 1, 1])),
        (np.array([3.0, 1.0, -1.0, -3.0]), np.array([0, 0, 1, 1])),
        (np.linspace(4.0, 9.0, 300), np.ones(300, int)),
        (np.linspace(-9.0, -4.0, 300), np.ones(300, int)),
        (np.zeros(10), np.arange(10) % 2),
        (np.full(10, 2.5), np.arange(10) % 2),
        (np.array([0.3]), np.array([1])),
    ],
    ids=["separated", "the wrong way round", "positive only", "wrong", "zero", "constant", "one"],
)
@pytest.mark.filterwarnings("error")
def test_a_split_that_says_little_gives_a_usable_temperature_that_makes_nothing_worse(
    logits, labels
):
    temperature = fit_temperature(logits, labels)
    assert 0.05 <= temperature <= 20.01
    assert negative_log_likelihood(logits, labels, temperature) <= negative_log_likelihood(
        logits, labels, 1.0
    )


@given(st.lists(st.tuples(st.floats(-30.0, 30.0), st.booleans()), min_size=1, max_size=40))
def test_no_split_makes_its_own_labels_less_likely(pairs):
    logits = np.array([logit for logit, _ in pairs])
    labels = np.array([int(label) for _, label in pairs])
    before = negative_log_likelihood(logits, labels, 1.0)
    assert negative_log_likelihood(logits, labels, fit_temperature(logits, labels)) <= before


def test_perfect_separation_does_not_drive_the_probabilities_to_0_and_1():
    """The exported model's float32 could tell them apart no more, and a threshold neither."""
    logits = np.concatenate([np.linspace(-9.0, -3.0, 60), np.linspace(3.0, 9.0, 60)])
    probability = probabilities(logits, fit_temperature(logits, (logits > 0).astype(int)))
    assert len(np.unique(probability.astype(np.float32))) == logits.size


def test_calibration_never_changes_who_comes_before_whom():
    logits = np.linspace(-8.0, 8.0, 50)
    assert (np.diff(probabilities(logits, 2.5)) > 0).all()


@pytest.mark.filterwarnings("error")
def test_extreme_logits_give_probabilities_without_a_warning():
    np.testing.assert_array_equal(
        probabilities(np.array([-1e5, 0.0, 1e5], np.float32), 0.05), [0.0, 0.5, 1.0]
    )


def test_the_likelihood_is_the_cross_entropy():
    logits, labels = np.array([-1.0, 0.5, 2.0]), np.array([0, 1, 0])
    probability = 1.0 / (1.0 + np.exp(-logits / 2.0))
    wanted = -np.mean(np.log(np.where(labels == 1, probability, 1.0 - probability)))
    assert negative_log_likelihood(logits, labels, 2.0) == pytest.approx(wanted)


def test_the_calibration_error_is_what_a_plain_loop_over_bins_says():
    generator = np.random.default_rng(2)
    probability = np.concatenate([generator.uniform(size=300), [0.0, 0.1, 0.5, 1.0]])
    labels = generator.integers(0, 2, probability.size)
    wanted = 0.0
    for number in range(10):
        low, high = number / 10, (number + 1) / 10
        inside = [
            i for i, p in enumerate(probability) if low <= p < high or (number == 9 and p == 1.0)
        ]
        if inside:
            confidence = sum(probability[i] for i in inside) / len(inside)
            frequency = sum(labels[i] for i in inside) / len(inside)
            wanted += len(inside) / probability.size * abs(confidence - frequency)
    assert expected_calibration_error(probability, labels) == pytest.approx(wanted)


def test_the_calibration_error_of_a_case_worked_out_by_hand():
    probability = np.array([0.1, 0.1, 0.9, 0.9])
    # 0.1 is right for neither of two, 0.9 for one of two: (0.1 + 0.4) / 2.
    labels = np.array([0, 0, 1, 0])
    assert expected_calibration_error(probability, labels) == pytest.approx(0.25)


def test_the_reliability_bins_hold_every_slice_once():
    probability = np.array([0.0, 0.05, 0.31, 0.39, 1.0])
    found = reliability_bins(probability, np.array([0, 1, 1, 1, 1]))
    np.testing.assert_array_equal(found.slices, [2, 2, 1])
    np.testing.assert_allclose(found.stated, [0.025, 0.35, 1.0])
    np.testing.assert_allclose(found.observed, [0.5, 1.0, 1.0])
