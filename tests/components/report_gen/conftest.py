"""A report's content as a run leaves it, and ways to change it."""

import base64
import dataclasses
import io

import numpy as np
import pytest
import tfx.v1  # noqa: F401 before anything of TFMA
from matplotlib.figure import Figure
from PIL import Image

from components.ct_example_gen.quarantine import QuarantinedSlice
from components.report_gen.answered import collect
from components.report_gen.content import ReportContent
from components.report_gen.slice_choice import choose_slices
from components.report_gen.slice_pictures import SlicePicture, SlicePictures
from components.report_gen.step_times import StepTime
from components.serving_validator.outcome import ServingOutcome
from components.shortcut_probes.outcome import BORDER_ONLY, PLAIN, Probe, ProbeResults
from components.slice_evaluator.answers import Answers, by_patient
from components.slice_evaluator.measured import Comparison
from components.slice_evaluator.paired_comparison import compare
from components.slice_evaluator.predictions import SlicePrediction
from transform.training_record import CALIBRATION, LEARNING_CURVES, THRESHOLD

OPERATING_POINT = 0.4


def predictions_of(labels, probabilities):
    return [
        SlicePrediction(
            id=f"slice-{number:03d}",
            patient_id=f"patient-{number // 2}",
            label=int(label),
            probability=float(probability),
            decision=int(probability >= OPERATING_POINT),
            threshold=OPERATING_POINT,
        )
        for number, (label, probability) in enumerate(zip(labels, probabilities, strict=True))
    ]


def drawn_in_training():
    """An SVG file as training leaves it."""
    figure = Figure()
    figure.add_subplot().plot([1, 2], label="validation")
    text = io.StringIO()
    figure.savefig(
        text, format="svg", transparent=True, metadata={"Title": "AUC < 1 & > 0", "Date": None}
    )
    return text.getvalue()


def a_jpeg():
    """A small picture as a data address."""
    file = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(file, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def random_predictions():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    probabilities = np.clip(0.5 * labels + generator.uniform(0.0, 0.5, 60), 0.0, 1.0)
    return predictions_of(labels, probabilities)


@pytest.fixture
def with_predictions():
    """`with_predictions(content, rows)`: content with these answers and what is chosen of them."""

    def change(content, rows):
        answers = collect(rows)
        return dataclasses.replace(content, answers=answers, chosen=choose_slices(rows, answers))

    return change


@pytest.fixture
def not_pushed(refused):
    """What a run of an older release leaves: no probes, no slices, no earlier model."""
    rows = random_predictions()
    answers = collect(rows)
    return ReportContent(
        facts=refused,
        quarantined=[
            QuarantinedSlice("a<b>&c", "scans/a<b>&c.png", "unreadable", "truncated <PNG>")
        ],
        training_pictures={LEARNING_CURVES: drawn_in_training()},
        answers=answers,
        chosen=choose_slices(rows, answers),
        pictures=None,
        steps=None,
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


@pytest.fixture
def probed():
    """What the probes of a model with a shortcut found."""
    return ProbeResults(
        probes=(
            Probe(PLAIN, "unaltered slices", 60, 30, 0.861, 0.79, 0.92, False, "As they are."),
            Probe(BORDER_ONLY, "only the border left", 60, 30, 0.77, 0.68, 0.85, True, "Marks."),
        ),
        slices=60,
        without_lungs=3,
        lungs_in_border=0.02,
    )


@pytest.fixture
def compared(not_pushed):
    """The comparison of the same answers with those of a model that knows less."""
    candidate = not_pushed.answers
    columns = {field.name: getattr(candidate, field.name) for field in dataclasses.fields(Answers)}
    noise = np.random.default_rng(1).uniform(0.0, 0.6, len(candidate))
    probability = np.clip(0.6 * candidate.probability + noise, 0.0, 1.0)
    baseline = Answers(
        **{
            **columns,
            "probability": probability,
            "decision": (probability >= OPERATING_POINT).astype(int),
        }
    )
    return Comparison(
        slices=compare(baseline, candidate, 20, 0),
        patients=compare(by_patient(baseline), by_patient(candidate), 20, 0),
    )


@pytest.fixture
def full_content(not_pushed, changed, probed, compared):
    """Content of which nothing is missing."""
    overall = dataclasses.replace(not_pushed.facts.evaluation.overall, comparison=compared)
    picture = SlicePicture(a_jpeg(), explained=True)
    return changed(
        not_pushed,
        overall=overall,
        probes=probed,
        leaks=["Slices were split by image."],
        training_pictures={
            name: drawn_in_training() for name in (LEARNING_CURVES, CALIBRATION, THRESHOLD)
        },
        pictures=SlicePictures({one.id: picture for one in not_pushed.chosen}, []),
        steps=[StepTime("CTExampleGen", 12.25, cached=True), StepTime("Trainer", 61.0, False)],
    )
