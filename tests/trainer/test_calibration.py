"""Temperature scaling and the calibration error."""

import numpy as np
import pytest

from trainer.calibration import (
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
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


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_validation_split_that_separates_perfectly_or_not_at_all_gives_a_usable_temperature(
    sign,
):
    labels = np.array([0, 0, 1, 1])
    temperature = fit_temperature(sign * np.array([-3.0, -1.0, 1.0, 3.0]), labels)
    assert 0.05 <= temperature <= 20.0


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
