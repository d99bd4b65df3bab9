"""The metric that collects answers in Beam."""

import tfx.v1  # noqa: F401, I001 before anything of TFMA

import pickle

import numpy as np
import pytest
import tensorflow_model_analysis as tfma

from components.slice_evaluator.answers import Answers
from components.slice_evaluator.figures import figures
from components.slice_evaluator.patient_figures import CollectedAnswers
from transform import ct_example, prediction

THRESHOLD = 0.4


def elements(seed, slices=50, models=("candidate", "baseline")):
    generator = np.random.default_rng(seed)
    for _ in range(slices):
        said = {
            name: {
                prediction.PROBABILITY: np.array([probability], np.float32),
                prediction.DECISION: np.array(int(probability >= THRESHOLD)),
                prediction.THRESHOLD: np.array([THRESHOLD]),
            }
            for name, probability in zip(models, generator.random(2), strict=False)
        }
        yield {
            tfma.FEATURES_KEY: {
                ct_example.PATIENT_ID: np.array([f"p{generator.integers(12)}".encode()], object),
                ct_example.LABEL: np.array([int(generator.random() < 0.5)]),
            },
            tfma.PREDICTIONS_KEY: said if len(models) > 1 else said[models[0]],
        }


def collected(combiner, rows):
    accumulator = combiner.create_accumulator()
    for row in rows:
        accumulator = combiner.add_input(accumulator, row)
    return accumulator


def test_a_slice_takes_34_bytes_and_51_with_a_baseline():
    lone = CollectedAnswers([""], 10, 0)
    assert len(collected(lone, elements(0, models=("candidate",)))) == 50 * 34
    both = CollectedAnswers(["candidate", "baseline"], 10, 0)
    assert len(collected(both, elements(0))) == 50 * 51


def test_neither_bundles_nor_their_order_nor_the_wire_change_a_figure():
    combiner = CollectedAnswers(["candidate", "baseline"], 30, 0)
    rows = list(elements(1))
    whole = combiner.extract_output(collected(combiner, rows))
    parts = [collected(combiner, rows[start::3]) for start in (2, 0, 1)]
    sent = pickle.loads(pickle.dumps(combiner))
    received = [pickle.loads(pickle.dumps(part)) for part in parts]
    merged = sent.merge_accumulators([sent.create_accumulator(), *received])
    again = sent.extract_output(merged)
    # NaN equals nothing.
    assert {key: repr(value) for key, value in whole.items()} == {
        key: repr(value) for key, value in again.items()
    }
    assert len(whole) > 100


def test_the_figures_are_those_of_the_answers():
    combiner = CollectedAnswers([""], 10, 0)
    rows = list(elements(2, models=("candidate",)))
    out = {
        key.name: value for key, value in combiner.extract_output(collected(combiner, rows)).items()
    }
    features = [row[tfma.FEATURES_KEY] for row in rows]
    probability = np.array([row[tfma.PREDICTIONS_KEY][prediction.PROBABILITY][0] for row in rows])
    answers = Answers.of(
        label=[one[ct_example.LABEL][0] for one in features],
        probability=probability.astype(np.float64),
        decision=probability >= THRESHOLD,
        patient_id=[one[ct_example.PATIENT_ID][0] for one in features],
        threshold=THRESHOLD,
    )
    wanted = figures(answers)
    assert {name: out[name] for name in wanted} == pytest.approx(wanted, abs=1e-12)
    assert out["patients"] == answers.patients
    assert out["threshold"] == THRESHOLD


def test_answers_at_two_operating_points_are_of_no_one_model():
    combiner = CollectedAnswers([""], 10, 0)
    rows = list(elements(3, models=("candidate",)))
    rows[7][tfma.PREDICTIONS_KEY][prediction.THRESHOLD] = np.array([0.5])
    with pytest.raises(ValueError, match="one operating point, not 2"):
        combiner.extract_output(collected(combiner, rows))
