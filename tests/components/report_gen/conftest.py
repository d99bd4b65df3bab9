"""A report's content as a run leaves it, and ways to spoil it."""

import dataclasses
import io

import numpy as np
import pytest
import tfx.v1  # noqa: F401 before anything of TFMA
from matplotlib.figure import Figure

from components.ct_example_gen.quarantine import QuarantinedSlice
from components.report_gen.content import ReportContent, in_columns
from components.serving_validator.outcome import ServingOutcome
from components.slice_evaluator.predictions import SlicePrediction
from transform.training_record import LEARNING_CURVES

THRESHOLD = 0.4


def predictions_of(labels, probabilities):
    return in_columns(
        SlicePrediction(
            id=f"slice-{number:03d}",
            patient_id=f"patient-{number // 2}",
            label=int(label),
            probability=float(probability),
            decision=int(probability >= THRESHOLD),
            threshold=THRESHOLD,
        )
        for number, (label, probability) in enumerate(zip(labels, probabilities, strict=True))
    )


def drawn_in_training():
    """An SVG file as training leaves it."""
    figure = Figure()
    figure.add_subplot().plot([1, 2], label="validation")
    text = io.StringIO()
    figure.savefig(
        text, format="svg", transparent=True, metadata={"Title": "AUC < 1 & > 0", "Date": None}
    )
    return text.getvalue()


@pytest.fixture
def not_pushed(refused):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    probabilities = np.clip(0.5 * labels + generator.uniform(0.0, 0.5, 60), 0.0, 1.0)
    return ReportContent(
        facts=refused,
        quarantined=[
            QuarantinedSlice("a<b>&c", "scans/a<b>&c.png", "unreadable", "truncated <PNG>")
        ],
        training_pictures={LEARNING_CURVES: drawn_in_training()},
        predictions=predictions_of(labels, probabilities),
        serving=ServingOutcome(None, 16, largest_difference=1.2e-7, median_ms=41.3),
        pushed=False,
        version=None,
        destination=None,
    )


@pytest.fixture
def pushed(not_pushed, passed):
    return dataclasses.replace(
        not_pushed,
        facts=passed,
        pushed=True,
        version="1749890012",
        destination="/srv/serving/ctnet/1749890012",
    )


@pytest.fixture
def changed(changed):
    """`changed(content, leaks=[...])`: content with other values, its facts' too."""

    def change(content, **values):
        names = {field.name for field in dataclasses.fields(content)}
        own = {name: values.pop(name) for name in list(values) if name in names}
        return dataclasses.replace(content, facts=changed(content.facts, **values), **own)

    return change
