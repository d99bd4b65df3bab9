"""A report's content as a run leaves it, and ways to spoil it."""

import dataclasses
import io

import numpy as np
import pytest
import tfx.v1  # noqa: F401 before anything of TFMA
from matplotlib.figure import Figure

from components.ct_example_gen.outcome import IngestOutcome
from components.ct_example_gen.quarantine import QuarantinedSlice
from components.report_gen.content import ReportContent, in_columns
from components.serving_validator.outcome import ServingOutcome
from components.slice_evaluator.gate import BoundResult, GateResult
from components.slice_evaluator.predictions import SlicePrediction
from transform.training_record import (
    LEARNING_CURVES,
    EpochRecord,
    OperatingPoint,
    TrainingRecord,
)

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


def make_content():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    probabilities = np.clip(0.5 * labels + generator.uniform(0.0, 0.5, 60), 0.0, 1.0)
    curves = {"loss": 0.6, "val_loss": 0.65, "auc": 0.8, "val_auc": 0.75}
    return ReportContent(
        name="hospital-a",
        created="2025-06-14T08:31:07+00:00",
        outcome=IngestOutcome(
            {
                "train": {"0": 234, "1": 191},
                "eval": {"0": 58, "1": 60},
                "test": {"0": 30, "1": 30},
            },
            {"unreadable": 1},
            {},
        ),
        quarantined=[
            QuarantinedSlice("a<b>&c", "scans/a<b>&c.png", "unreadable", "truncated <PNG>")
        ],
        training=TrainingRecord(
            epochs=[EpochRecord("head", 1, curves), EpochRecord("fine-tuning", 1, curves)],
            training_slices=(234, 191),
            centre=0.27,
            temperature=1.375,
            calibration_error=(0.091, 0.047),
            threshold=THRESHOLD,
            validation={"sensitivity": 0.9, "specificity": 0.7, "auc": 0.88},
            operating_point=OperatingPoint(
                threshold=THRESHOLD,
                rule="sensitivity",
                target_sensitivity=0.9,
                resamples=1000,
                threshold_interval=(0.35, 0.45),
                sensitivity_interval=(0.81, 0.97),
                specificity_interval=(0.59, 0.83),
            ),
        ),
        training_pictures={LEARNING_CURVES: drawn_in_training()},
        gate=GateResult(
            {"auc": 0.861, "sensitivity": 0.855, "specificity": 0.763, "example_count": 60.0},
            [
                BoundResult("sensitivity", 0.8, 0.855, True),
                BoundResult("specificity", 0.8, 0.763, False),
            ],
        ),
        predictions=predictions_of(labels, probabilities),
        blessed=False,
        serving=ServingOutcome(None, 16, largest_difference=1.2e-7, median_ms=41.3),
        pushed=False,
        version=None,
        destination=None,
        versions={"tfx": "1.21.0"},
        config={"hounsfield": {"window": [-1000.0, 400.0]}, "gate": {"target_sensitivity": 0.9}},
        leaks=[],
    )


@pytest.fixture
def not_pushed():
    return make_content()


@pytest.fixture
def pushed(not_pushed):
    return dataclasses.replace(
        not_pushed,
        gate=GateResult(not_pushed.gate.metrics, not_pushed.gate.bounds[:1]),
        blessed=True,
        pushed=True,
        version="1749890012",
        destination="/srv/serving/ctnet/1749890012",
    )
