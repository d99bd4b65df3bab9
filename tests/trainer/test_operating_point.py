"""The threshold that reaches a sensitivity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.operating_point import choose_threshold

# Few different scores, so that ties are common.
SCORES = st.one_of(st.integers(0, 20).map(lambda n: n / 20), st.floats(1e-6, 1.0 - 1e-6))


@st.composite
def validation_splits(draw):
    positive = draw(st.lists(SCORES, min_size=1, max_size=30))
    negative = draw(st.lists(SCORES, min_size=1, max_size=30))
    probability = np.array(positive + negative)
    labels = np.array([1] * len(positive) + [0] * len(negative))
    order = draw(st.permutations(range(len(labels))))
    return probability[order], labels[order]


def sensitivity(probability, labels, threshold):
    return (probability[labels == 1] >= threshold).mean()


@given(validation_splits(), st.floats(0.01, 0.99))
def test_the_target_sensitivity_is_reached_and_no_higher_threshold_would_reach_it(split, target):
    probability, labels = split
    threshold = choose_threshold(probability, labels, target)
    reached = sensitivity(probability, labels, threshold)
    assert reached >= target - 1e-9
    # Up to the score that it must include every threshold decides alike; above it too few remain.
    included = probability[probability >= threshold].min()
    assert sensitivity(probability, labels, included) == reached
    assert sensitivity(probability, labels, np.nextafter(included, 2.0)) < target


@given(validation_splits(), st.floats(0.01, 0.99))
def test_the_threshold_lies_midway_between_the_scores_that_it_parts(split, target):
    probability, labels = split
    threshold = choose_threshold(probability, labels, target)
    included = probability[probability >= threshold].min()
    below = probability[probability < threshold]
    lower = below.max() if below.size else 0.0
    assert threshold == pytest.approx((included + lower) / 2.0)


def test_nine_of_ten_are_enough_for_a_sensitivity_of_0_9():
    probability = np.array([0.05, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.1])
    labels = np.array([1] * 10 + [0])
    assert choose_threshold(probability, labels, 0.9) == pytest.approx(0.15)


def test_slices_with_the_same_score_are_decided_alike():
    probability = np.array([0.4, 0.4, 0.4, 0.8, 0.2])
    labels = np.array([1, 1, 0, 1, 0])
    threshold = choose_threshold(probability, labels, 0.5)
    assert threshold == pytest.approx(0.3)
