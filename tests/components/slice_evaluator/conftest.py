"""Answers of no model, for the tests of the evaluation's statistics."""

import numpy as np
import pytest

from components.slice_evaluator.answers import Answers


@pytest.fixture(scope="session")
def make_answers():
    def make(seed, slices=60, patients=17, levels=8, threshold=0.4):
        """Answers with ties; a patient's slices have one label, and scores like each other."""
        generator = np.random.default_rng(seed)
        more = generator.integers(patients, size=slices - patients)
        patient = np.concatenate([np.arange(patients), more])
        label = (generator.random(patients) < 0.5)[patient]
        score = generator.normal(size=patients)[patient] + generator.normal(size=slices)
        probability = np.round(levels / (1.0 + np.exp(-score - 1.5 * label + 0.5))) / levels
        return Answers(label, probability, probability >= threshold, patient, threshold)

    return make


@pytest.fixture(scope="session")
def reorder():
    def reordered(seed, *several):
        """The same answers in another order, with other codes for the patients."""
        generator = np.random.default_rng(seed)
        rows = generator.permutation(len(several[0]))
        codes = generator.permutation(several[0].patients)
        return [
            Answers(
                answers.label[rows],
                answers.probability[rows],
                answers.decision[rows],
                codes[answers.patient[rows]],
                answers.threshold,
            )
            for answers in several
        ]

    return reordered
