"""The facts of a run as its steps leave them, for the report and the model card."""

import dataclasses

import numpy as np
import pytest
import tfx.v1  # noqa: F401 before anything of TFMA

from components.ct_example_gen.outcome import IngestOutcome
from components.run_facts.facts import RunFacts, RunSettings
from components.run_facts.lineage import Lineage
from components.slice_evaluator.answers import Answers, by_patient
from components.slice_evaluator.confidence_intervals import confidence_intervals
from components.slice_evaluator.evaluation import Evaluation
from components.slice_evaluator.figures import COUNTS, FIGURES, figures
from components.slice_evaluator.gate import BoundResult, Bounds, Minimum, judge_alarm
from components.slice_evaluator.measured import Figure, Part, UnitFigures
from transform.training_record import EpochRecord, OperatingPoint, TrainingRecord

THRESHOLD = 0.4
_RESAMPLES = 20


def unit_of(answers):
    found, ends = figures(answers), confidence_intervals(answers, _RESAMPLES, 0)
    return UnitFigures(
        len(answers),
        {name: int(found[name]) for name in COUNTS},
        {name: Figure(found[name], *ends[name]) for name in FIGURES},
    )


def part_of(answers):
    return Part(False, unit_of(answers), unit_of(by_patient(answers)), 0)


def answered():
    """Sixty slices of thirty patients."""
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 60)
    probability = np.clip(0.5 * label + generator.uniform(0.0, 0.5, 60), 0.0, 1.0)
    return Answers.of(
        label=label,
        probability=probability,
        decision=(probability >= THRESHOLD).astype(int),
        patient_id=[f"patient-{number // 2:02d}" for number in range(60)],
        threshold=THRESHOLD,
    )


def evaluation():
    """Figures of these slices, but three that tests know by heart."""
    answers = answered()
    overall = part_of(answers)
    known = {"sensitivity": 0.855, "specificity": 0.763, "auc": 0.861}
    overall.slices.figures.update(
        {
            name: dataclasses.replace(overall.slices.figures[name], value=value)
            for name, value in known.items()
        }
    )
    women = part_of(answers.where(answers.patient % 2 == 0))
    men = part_of(answers.where(answers.patient % 2 == 1))
    bounds = Bounds(Minimum(0.8), Minimum(0.8), 0.02, leak_alarm=None)
    return Evaluation(
        passed=False,
        threshold=THRESHOLD,
        confidence=0.95,
        resamples=_RESAMPLES,
        seed=0,
        bounds=[
            BoundResult("sensitivity", 0.8, 0.855, True),
            BoundResult("specificity", 0.8, 0.763, False),
        ],
        leak_alarm=judge_alarm(overall, bounds),
        overall=overall,
        groups={
            "sex": {"F": women, "M": dataclasses.replace(men, small=True)},
            "source": {"unknown": overall},
        },
    )


def training_record():
    curves = {"loss": 0.6, "val_loss": 0.65, "auc": 0.8, "val_auc": 0.75}
    return TrainingRecord(
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
        versions={"tfx": "1.21.0"},
    )


@pytest.fixture
def refused():
    """The facts of a run whose model missed the bound on specificity."""
    return RunFacts(
        settings=RunSettings(
            "hospital-a",
            {"hounsfield": {"window": [-1000.0, 400.0]}, "gate": {"target_sensitivity": 0.9}},
            [],
        ),
        evaluated="2025-06-14T08:31:07+00:00",
        outcome=IngestOutcome(
            {
                "train": {"0": 234, "1": 191},
                "eval": {"0": 58, "1": 60},
                "test": {"0": 30, "1": 30},
            },
            {"unreadable": 1},
            {},
        ),
        training=training_record(),
        evaluation=evaluation(),
        blessed=False,
        lineage=Lineage("0123abcd", "feed", "imagenet"),
        probes=None,
    )


def _change(facts, **values):
    """Facts with other values, wherever in them these stand."""
    for part in ("settings", "evaluation"):
        names = {field.name for field in dataclasses.fields(getattr(facts, part))}
        inner = {name: values.pop(name) for name in list(values) if name in names}
        facts = dataclasses.replace(
            facts, **{part: dataclasses.replace(getattr(facts, part), **inner)}
        )
    return dataclasses.replace(facts, **values)


@pytest.fixture
def changed():
    """`changed(facts, leaks=[...])`: facts with other values, wherever in them these stand."""
    return _change


@pytest.fixture
def passed(refused):
    """The facts of a run whose model the gate let pass."""
    return _change(refused, blessed=True, passed=True, bounds=refused.gate.bounds[:1])
