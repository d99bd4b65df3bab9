import dataclasses
import math
import random
import tracemalloc

from components.report_gen.answered import collect
from components.report_gen.slice_choice import (
    CLEARED,
    FALSE_ALARMS,
    FOUND,
    KINDS,
    MISSED,
    choose_slices,
)
from components.slice_evaluator.predictions import SlicePrediction

POINT = 0.5


def rows_of(label, probabilities, prefix):
    return [
        SlicePrediction(
            f"{prefix}{n:02d}", f"{prefix}{n:02d}", label, one, int(one >= POINT), POINT
        )
        for n, one in enumerate(probabilities)
    ]


def chosen_of(rows):
    return choose_slices(iter(rows), collect(rows))


def ids(chosen, kind):
    return [one.id for one in chosen.slices[kind]]


def example_rows():
    positives = [0.01, 0.45, 0.02, 0.30, 0.03, 0.04, 0.55, 0.70, 0.80, 0.95, 0.99]
    negatives = [0.99, 0.51, 0.60, 0.98, 0.97, 0.96, 0.01, 0.10, 0.20, 0.40]
    return rows_of(1, positives, "pos") + rows_of(0, negatives, "neg")


def test_the_mistakes_are_those_farthest_on_the_wrong_side():
    chosen = chosen_of(example_rows())
    assert ids(chosen, MISSED) == ["pos00", "pos02", "pos04", "pos05"]
    assert ids(chosen, FALSE_ALARMS) == ["neg00", "neg03", "neg04", "neg05"]
    assert chosen.amounts == {MISSED: 6, FALSE_ALARMS: 6, FOUND: 5, CLEARED: 4}


def test_no_list_has_two_slices_of_one_patient():
    # Seven slices of one scan are missed by more than those of the others.
    rows = rows_of(1, [0.01 * n for n in range(7)] + [0.3, 0.4, 0.45, 0.2], "pos")
    rows[:7] = [dataclasses.replace(one, patient_id="scan") for one in rows[:7]]
    random.Random(0).shuffle(rows)
    chosen = chosen_of(rows * 300)
    assert ids(chosen, MISSED) == ["pos00", "pos10", "pos07", "pos08"]


def test_right_calls_are_those_nearest_to_the_median_of_their_class():
    chosen = chosen_of(example_rows())
    # 0.80 is the median of 0.55, 0.70, 0.80, 0.95, 0.99; 0.15 that of 0.01, 0.10, 0.20, 0.40.
    assert ids(chosen, FOUND) == ["pos08", "pos07"]
    assert set(ids(chosen, CLEARED)) == {"neg07", "neg08"}


def test_the_choice_does_not_depend_on_the_order_of_the_predictions():
    rows = example_rows() + rows_of(1, [0.01] * 9, "same")
    again = list(rows)
    random.Random(0).shuffle(again)
    assert list(chosen_of(rows)) == list(chosen_of(again))


def test_slices_without_a_probability_are_counted_and_not_shown():
    rows = rows_of(1, [math.nan, 0.2], "pos")
    chosen = chosen_of([dataclasses.replace(one, decision=0) for one in rows])
    assert ids(chosen, MISSED) == ["pos01"]
    assert chosen.amounts[MISSED] == 2


def test_a_split_without_mistakes_shows_none():
    chosen = chosen_of(rows_of(1, [0.9], "pos") + rows_of(0, [0.1], "neg"))
    assert [len(chosen.slices[kind]) for kind in KINDS] == [0, 0, 1, 1]
    assert [len(chosen_of([]).slices[kind]) for kind in KINDS] == [0, 0, 0, 0]


def test_a_large_split_is_never_held_as_a_whole():
    def stream():
        generator = random.Random(1)
        for n in range(30_000):
            one = generator.random()
            yield SlicePrediction(f"{n}" * 40, f"p{n % 100}", n % 2, one, int(one > 0.5), 0.5)

    tracemalloc.start()
    try:
        chosen = choose_slices(stream(), collect(stream()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(list(chosen)) == 12
    # As objects, the slices would take more than 15 MB.
    assert peak < 5_000_000
