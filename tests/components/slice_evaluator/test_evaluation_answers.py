import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.slice_evaluator.answers import (
    Answers,
    IdentifiedAnswers,
    by_patient,
    paired_answers,
    patients_of_both_labels,
)
from components.slice_evaluator.predictions import SlicePrediction
from serving.patient import patient_of
from serving.patient_result import patient_results
from serving.slice_result import Prediction, SliceResult
from transform.errors import BadDataError

ROOT = Path(__file__).resolve().parents[3]
GOOD = {
    "label": [1, 0, 0],
    "probability": [0.9, 0.2, 0.6],
    "decision": [1, 0, 1],
    "patient": [1, 0, 0],
    "threshold": 0.5,
}


def predictions(*rows, threshold=0.5):
    return [
        SlicePrediction(name, patient, label, probability, int(probability >= 0.5), threshold)
        for name, patient, label, probability in rows
    ]


def test_columns_get_their_types():
    answers = Answers(**GOOD)
    columns = answers.label, answers.probability, answers.decision, answers.patient
    assert [column.dtype.name for column in columns] == ["int8", "float64", "int8", "int32"]
    assert (len(answers), answers.patients) == (3, 2)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("label", [1, 0], "one length"),
        ("label", [[1], [0], [0]], "one length"),
        ("label", [1, 0, 2], "label must be 0 or 1"),
        ("label", [1, 0, 256], "label must be 0 or 1"),
        ("label", [1, 0, 0.5], "label must be 0 or 1"),
        ("decision", [1, 0, -1], "decision must be 0 or 1"),
        ("probability", [0.9, 0.2, 1.01], "probability must be in"),
        ("probability", [0.9, 0.2, -0.1], "probability must be in"),
        ("probability", [0.9, 0.2, np.inf], "probability must be in"),
        ("patient", [0, 2, 0], "without a gap"),
        ("patient", [1, 2, 1], "without a gap"),
        ("patient", [-1, 0, 0], "without a gap"),
        ("patient", [0.5, 0.0, 1.0], "without a gap"),
        ("threshold", np.nan, "threshold must be a number"),
    ],
)
def test_columns_that_break_the_rules_are_refused(column, value, says):
    with pytest.raises(ValueError, match=says):
        Answers(**{**GOOD, column: value})


def test_predictions_in_any_order_make_the_same_answers():
    rows = predictions(("c", "p1", 0, 0.1), ("a", "p2", 1, 0.7), ("b", "p1", 0, 0.6))
    for order in ((0, 1, 2), (2, 0, 1)):
        answers = IdentifiedAnswers.of(rows[one] for one in order).answers
        assert answers.probability.tolist() == [0.7, 0.6, 0.1]
        assert answers.label.tolist() == [1, 0, 0]
        assert answers.decision.tolist() == [1, 1, 0]
        assert answers.patient.tolist() == [1, 0, 0]
        assert answers.threshold == 0.5


def test_predictions_of_two_operating_points_are_refused():
    rows = [
        *predictions(("a", "p", 1, 0.7)),
        *predictions(("b", "p", 1, 0.7), threshold=0.4),
    ]
    with pytest.raises(ValueError, match="one operating point, not 2"):
        IdentifiedAnswers.of(rows)


def test_no_prediction_makes_no_answer():
    answers = IdentifiedAnswers.of([]).answers
    assert (len(answers), answers.patients, len(by_patient(answers))) == (0, 0, 0)
    assert np.isnan(answers.threshold)
    assert patients_of_both_labels(answers) == 0


def test_a_part_counts_the_patients_that_are_in_it():
    part = Answers(**GOOD).where(np.array([True, False, False]))
    assert (part.label.tolist(), part.patient.tolist(), part.patients) == ([1], [0], 1)


def test_a_patient_is_positive_where_any_slice_is():
    answers = Answers.of(
        label=[0, 1, 0, 0, 1],
        probability=[0.1, 0.2, 0.3, 0.5, 0.9],
        decision=[0, 0, 0, 1, 1],
        patient_id=["mixed", "mixed", "negative", "negative", "positive"],
        threshold=0.4,
    )
    patients = by_patient(answers)
    assert patients.label.tolist() == [1, 0, 1]
    assert patients.probability == pytest.approx([0.15, 0.4, 0.9])
    assert patients.decision.tolist() == [0, 1, 1]
    assert patients.patient.tolist() == [0, 1, 2]
    assert patients.threshold == 0.4
    assert patients_of_both_labels(answers) == 1


def test_the_order_of_slices_changes_no_bit_of_a_patient():
    generator = np.random.default_rng(0)
    probability = generator.random(1000)
    columns = np.zeros(1000, int), probability, np.zeros(1000, int), np.zeros(1000, int)
    expected = by_patient(Answers(*columns, 0.5)).probability
    for _ in range(20):
        shuffled = generator.permutation(probability)
        again = by_patient(Answers(columns[0], shuffled, *columns[2:], 0.5)).probability
        assert again.tolist() == expected.tolist()


@settings(deadline=None)
@given(
    slices=st.lists(
        # What the model computes is float32.
        st.tuples(st.sampled_from("abc"), st.integers(0, 2**20).map(lambda part: part / 2**20)),
        min_size=1,
    ),
    threshold=st.integers(1, 15).map(lambda part: part / 16),
)
def test_a_patient_is_what_ctnet_predict_says(slices, threshold):
    of_client = patient_results(
        SliceResult(
            Path(f"{patient}.dcm"),
            Path(f"{patient}.dcm"),
            Prediction(probability, int(probability >= threshold), threshold),
            patient=patient_of(Path(f"{patient}.dcm"), patient),
        )
        for patient, probability in slices
    )
    ours = by_patient(
        Answers.of(
            label=[0] * len(slices),
            probability=[probability for _, probability in slices],
            decision=[int(probability >= threshold) for _, probability in slices],
            patient_id=[patient for patient, _ in slices],
            threshold=threshold,
        )
    )
    expected = sorted((one.patient.id, one.probability, one.decision) for one in of_client)
    assert ours.probability.tolist() == [probability for _, probability, _ in expected]
    assert ours.decision.tolist() == [decision for _, _, decision in expected]


def identified(*rows, threshold=0.5):
    return IdentifiedAnswers.of(predictions(*rows, threshold=threshold))


def test_two_models_are_paired_slice_by_slice():
    rows = ("a", "p2", 1, 0.7), ("b", "p1", 0, 0.6), ("c", "p1", 0, 0.1)
    changed = [
        (name, patient, label, probability / 2) for name, patient, label, probability in rows
    ]
    baseline, candidate = paired_answers(identified(*rows), identified(*reversed(changed)))
    assert baseline.probability.tolist() == [0.7, 0.6, 0.1]
    assert candidate.probability.tolist() == [0.35, 0.3, 0.05]
    assert candidate.decision.tolist() == [0, 0, 0]
    assert baseline.patient.tolist() == candidate.patient.tolist() == [1, 0, 0]


def test_patients_that_are_called_something_else_are_the_same_ones():
    rows = ("a", "p2", 1, 0.7), ("b", "p1", 0, 0.6), ("c", "p1", 0, 0.1)
    names = {"p1": "z", "p2": "x"}
    renamed = [(name, names[patient], *rest) for name, patient, *rest in rows]
    baseline, candidate = paired_answers(identified(*rows), identified(*renamed, threshold=0.4))
    assert baseline.patient.tolist() == candidate.patient.tolist() == [1, 0, 0]
    assert (baseline.threshold, candidate.threshold) == (0.5, 0.4)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ([("a", "p2", 1, 0.7)], "1 are shared, 1 are of A alone, 0 of B alone;"),
        (
            [("x", "p1", 0, 0.6), ("a", "p2", 0, 0.7)],
            "0 are shared, 1 are of A alone, 1 of B alone, and 1 have another label;",
        ),
        ([("b", "p1", 1, 0.6), ("a", "p2", 1, 0.7)], "and 1 have another label"),
        ([("a", "p2", 1, 0.7), ("b", "p2", 0, 0.6)], "2 and 1 patients, 2 pairs"),
    ],
)
def test_models_of_different_slices_are_not_paired(other, says):
    rows = ("a", "p2", 1, 0.7), ("b", "p1", 0, 0.6)
    with pytest.raises(BadDataError, match=says) as caught:
        paired_answers(identified(*rows), identified(*other))
    assert "\n" not in str(caught.value)


def test_a_slice_that_is_there_twice_is_counted():
    rows = ("b", "p1", 0, 0.6), ("a", "p1", 0, 0.1), ("b", "p1", 0, 0.6), ("b", "p1", 0, 0.2)
    answers = identified(*rows)
    assert (len(answers), answers.repeated, answers.ids.tolist()) == (4, 2, ["a", "b", "b", "b"])
    assert identified(*rows[:2]).repeated == identified().repeated == 0


def test_what_is_no_number_is_no_answer():
    with pytest.raises(TypeError):
        IdentifiedAnswers.of([SlicePrediction("a", "p", 1, None, 1, 0.5)])


def test_the_statistics_need_no_tensorflow():
    modules = "answers", "figures", "paired_comparison", "confidence_intervals", "evaluation"
    look = "import sys; " + "; ".join(
        [f"import components.slice_evaluator.{module}" for module in modules]
    )
    found = subprocess.run(
        [sys.executable, "-c", f"{look}; print('tensorflow' in sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "False\n"
