"""The threshold, chosen over resamples of the validation patients."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.operating_point import _Answers, choose_operating_point, threshold_curve
from transform.errors import BadDataError

# Few different scores, so that ties are common; all of them in float32, as the choice sees them.
SCORES = st.one_of(
    st.integers(0, 16).map(lambda n: n / 16), st.floats(2.0**-20, 1.0 - 2.0**-20, width=32)
)


@st.composite
def validation_splits(draw):
    """Probabilities, labels and patients, in any order; patients may have slices of both."""
    positive = draw(st.lists(SCORES, min_size=1, max_size=20))
    negative = draw(st.lists(SCORES, min_size=1, max_size=20))
    probability = np.array(positive + negative)
    labels = np.array([1] * len(positive) + [0] * len(negative))
    patients = np.array(draw(st.lists(st.integers(0, 9), min_size=len(labels), max_size=40)))
    order = draw(st.permutations(range(len(labels))))
    return probability[order], labels[order], patients[: len(labels)][order]


def choose(probability, labels, patients, rule="sensitivity", target=0.9, resamples=20, seed=1):
    return choose_operating_point(
        np.asarray(probability, np.float64),
        np.asarray(labels),
        np.asarray(patients),
        rule=rule,
        target_sensitivity=target,
        resamples=resamples,
        seed=seed,
    )


def rates(probability, labels, threshold):
    decided = probability >= threshold
    return decided[labels == 1].mean(), (~decided)[labels == 0].mean()


@given(validation_splits(), st.floats(0.01, 0.99))
def test_the_target_sensitivity_is_reached_on_the_validation_split(split, target):
    probability, labels, _ = split
    point = choose(*split, target=target)
    assert rates(probability, labels, point.threshold)[0] >= target - 1e-9


@given(validation_splits(), st.sampled_from(["sensitivity", "youden"]))
def test_the_threshold_lies_midway_between_the_scores_that_it_parts(split, rule):
    probability, _, _ = split
    threshold = choose(*split, rule=rule).threshold
    included = probability[probability >= threshold].min()
    below = probability[probability < threshold]
    lower = below.max() if below.size else 0.0
    assert threshold == pytest.approx((included + lower) / 2.0, abs=1e-7)


@given(validation_splits(), st.sampled_from(["sensitivity", "youden", 0.4]), st.randoms())
@settings(max_examples=30)
def test_neither_the_order_of_the_slices_nor_the_names_of_the_patients_matter(split, rule, random):
    order = list(range(len(split[0])))
    random.shuffle(order)
    shuffled = [one[order] for one in split]
    shuffled[2] = np.array([f"patient-{one}".encode() for one in shuffled[2]])
    assert choose(*shuffled, rule=rule) == choose(*split, rule=rule)


def study(generator, patients):
    """Slices whose scores vary between and within patients; AUC 0.94."""
    label = np.arange(patients) % 2
    patient = np.repeat(np.arange(patients), generator.geometric(1 / 3, patients))
    score = 2.2 * label + generator.normal(0.0, 0.8, patients)
    logit = score[patient] + generator.normal(0.0, 0.6, patient.size) - 1.1
    return 1.0 / (1.0 + np.exp(-2.2 * logit)), label[patient], patient


@pytest.fixture(scope="module")
def chosen_and_plain():
    """Sensitivity and specificity on fresh patients, [rule, resampled or plain, study, rate]."""
    generator = np.random.default_rng(5)
    fresh, fresh_labels, _ = study(generator, 20_000)
    found = {"sensitivity": [], "youden": []}
    for _ in range(150):
        probability, labels, patients = study(generator, 40)
        for rule, of_rule in found.items():
            # With a single patient every resample is the split itself: the plain rule.
            of_rule.append(
                [
                    rates(fresh, fresh_labels, one.threshold)
                    for one in (
                        choose(probability, labels, patients, rule, resamples=150),
                        choose(probability, labels, np.zeros(len(labels)), rule, resamples=1),
                    )
                ]
            )
    return {rule: np.array(rows) for rule, rows in found.items()}


def test_a_target_is_reached_on_fresh_patients_more_often_than_by_the_plain_threshold(
    chosen_and_plain,
):
    resampled, plain = chosen_and_plain["sensitivity"][:, :, 0].T
    assert (resampled >= 0.9).mean() > (plain >= 0.9).mean() + 0.1
    assert resampled.std() < plain.std()


def test_youdens_threshold_is_less_a_matter_of_luck_than_the_plain_one(chosen_and_plain):
    (resampled, plain) = np.moveaxis(chosen_and_plain["youden"], 1, 0)
    assert (resampled.std(axis=0) < 0.8 * plain.std(axis=0)).all()
    assert resampled.sum(axis=1).mean() >= plain.sum(axis=1).mean()


def test_slices_of_one_patient_make_the_intervals_wider_than_as_many_patients_would():
    generator = np.random.default_rng(3)
    label = np.arange(30) % 2
    score = np.clip(generator.normal(0.35 + 0.3 * label, 0.2), 0.01, 0.99)
    probability, labels, patient = (np.repeat(one, 8) for one in (score, label, np.arange(30)))
    together = choose(probability, labels, patient, rule=0.5, resamples=400)
    apart = choose(probability, labels, np.arange(240), rule=0.5, resamples=400)
    width = {
        name: np.diff(getattr(together, name))[0] / np.diff(getattr(apart, name))[0]
        for name in ("sensitivity_interval", "specificity_interval")
    }
    # The square root of eight slices each is 2.8.
    assert min(width.values()) > 2.0


def test_the_intervals_hold_what_the_split_itself_has():
    probability, labels, patients = study(np.random.default_rng(4), 60)
    point = choose(probability, labels, patients, resamples=500)
    sensitivity, specificity = rates(probability, labels, point.threshold)
    assert point.sensitivity_interval[0] < sensitivity < point.sensitivity_interval[1]
    assert point.specificity_interval[0] < specificity < point.specificity_interval[1]
    assert point.threshold_interval[0] <= point.threshold <= point.threshold_interval[1]


def test_the_same_seed_chooses_the_same_and_another_seed_draws_others():
    split = study(np.random.default_rng(6), 40)
    assert choose(*split) == choose(*split)
    assert choose(*split, seed=2) != choose(*split)


def test_a_given_threshold_is_taken_as_it_is_with_its_intervals():
    split = study(np.random.default_rng(7), 40)
    point = choose(*split, rule=0.37)
    assert (point.threshold, point.rule, point.threshold_interval) == (0.37, "fixed", (0.37, 0.37))
    assert point.sensitivity_interval[0] < point.sensitivity_interval[1]


@pytest.mark.parametrize("rule", ["sensitivity", "youden"])
def test_one_patient_a_class_is_enough(rule):
    point = choose([0.2, 0.3, 0.6, 0.9], [0, 0, 1, 1], ["a", "a", "b", "b"], rule=rule)
    assert point.threshold == pytest.approx(0.45)
    # Half of the resamples have one of the two patients only, and are left out.
    assert 0 < point.resamples < 20


def test_resamples_that_all_lack_a_class_leave_the_split_itself():
    # Of the single resample of each seed, some lack a class.
    points = [choose([0.2, 0.8], [0, 1], ["a", "b"], resamples=1, seed=seed) for seed in range(8)]
    assert all((one.threshold, one.resamples) == (pytest.approx(0.5), 1) for one in points)


def test_a_class_without_a_slice_is_one_line():
    with pytest.raises(BadDataError, match="one class only"):
        choose([0.1, 0.2], [0, 0], ["a", "b"])


def test_nine_of_ten_are_enough_for_a_sensitivity_of_0_9():
    probability = [0.05, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.1]
    point = choose(probability, [1] * 10 + [0], ["one patient"] * 11)
    assert point.threshold == pytest.approx(0.15)


def test_youden_takes_the_middle_of_thresholds_that_are_equally_good():
    # From 0.3 to 0.7 sensitivity is 1 and the specificity too.
    point = choose([0.1, 0.3, 0.7, 0.9], [0, 0, 1, 1], ["one patient"] * 4, rule="youden")
    assert point.threshold == pytest.approx(0.5)


def test_scores_that_float32_cannot_tell_apart_are_decided_alike():
    """The exported model computes in float32; a threshold between them would part nothing there."""
    probability = [0.2, 0.9, 0.9 + 1e-9, 0.95]
    point = choose(probability, [0, 0, 1, 1], ["one patient"] * 4)
    assert point.threshold == pytest.approx(0.55)


def test_the_curve_says_what_a_plain_count_says_within_its_band():
    probability, labels, patients = study(np.random.default_rng(8), 40)
    curve = threshold_curve(probability, labels, patients, resamples=200, seed=1, points=11)
    for column, threshold in enumerate(curve.thresholds):
        sensitivity, specificity = rates(probability, labels, threshold)
        for rate, (value, low, high) in (
            (sensitivity, curve.sensitivity[:, column]),
            (specificity, curve.specificity[:, column]),
        ):
            assert value == pytest.approx(rate)
            assert low - 1e-9 <= value <= high + 1e-9


def test_the_curve_and_the_operating_point_see_the_same_resamples():
    split = study(np.random.default_rng(9), 40)
    curve = threshold_curve(*split, resamples=100, seed=1, points=3)
    point = choose(*split, rule=0.5, resamples=100)
    np.testing.assert_allclose(curve.sensitivity[1:, 1], point.sensitivity_interval)
    np.testing.assert_allclose(curve.specificity[1:, 1], point.specificity_interval)


def test_blocks_of_resamples_are_all_used(monkeypatch):
    """Large splits are resampled in blocks; every resample counts once."""
    split = study(np.random.default_rng(10), 40)
    whole = choose(*split, resamples=50)
    monkeypatch.setattr("trainer.operating_point._BLOCK", 3 * len(split[0]))
    in_blocks = choose(*split, resamples=50)
    assert dataclasses.asdict(in_blocks) == dataclasses.asdict(whole)


def rates_of_all_blocks_at_once(answers, thresholds, resamples):
    """Sensitivity and specificity where all blocks are held together."""
    blocks = [block.astype(np.float64) for block in resamples]
    found = []
    for of in (True, False):
        slices = np.bincount(
            answers.patient, weights=answers.positive == of, minlength=answers.patients
        )
        right = np.stack(
            [
                np.bincount(
                    answers.patient,
                    weights=(answers.positive == of) & ((answers.probability >= one) == of),
                    minlength=answers.patients,
                )
                for one in thresholds
            ],
            axis=1,
        )
        found.append(
            np.concatenate([block @ right / (block @ slices)[:, None] for block in blocks])
        )
    return found


def test_rates_block_by_block_are_those_of_all_blocks_to_the_last_bit(monkeypatch):
    answers = _Answers.of(*study(np.random.default_rng(11), 40))
    monkeypatch.setattr("trainer.operating_point._BLOCK", 7 * len(answers.patient))
    thresholds = np.linspace(0.0, 1.0, 23)
    found = answers.rates_in_resamples(thresholds, answers.resamples(50, 1))
    wanted = rates_of_all_blocks_at_once(answers, thresholds, answers.resamples(50, 1))
    assert found[0].shape == (50, 23)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_memory_for_rates_is_that_of_one_block():
    answers = _Answers.of(*study(np.random.default_rng(12), 1000))
    rows, blocks = 50, 40

    def resamples():
        for _ in range(blocks):
            yield np.ones([rows, answers.patients], int)

    tracemalloc.start()
    try:
        sensitivity, _ = answers.rates_in_resamples(np.array([0.5]), resamples())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sensitivity.shape == (rows * blocks, 1)
    # As drawn and as float64, while the next is drawn.
    assert most < 5 * rows * answers.patients * 8
