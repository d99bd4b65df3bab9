"""How far a model's probabilities can be taken at their word, and where it decides."""

from __future__ import annotations

import math

from components.run_facts.facts import RunFacts
from components.run_facts.wording import count, number, with_interval
from components.slice_evaluator.figures import BRIER, CALIBRATION_ERROR
from transform.training_record import SENSITIVITY_RULE, YOUDEN_RULE, OperatingPoint


def describe_calibration(facts: RunFacts) -> list[str]:
    """Temperature and calibration errors, a sentence each."""
    before, after = facts.training.calibration_error
    figures = facts.evaluation.overall.slices.figures
    return [
        f"A temperature of {number(facts.training.temperature)}, fitted to the validation split, "
        "turns the network's output into the probability.",
        f"Expected calibration error on the validation split: {number(before)} before, "
        f"{number(after)} after.",
        "On the test split, of slices: expected calibration error "
        f"{with_interval(figures[CALIBRATION_ERROR])}, Brier score "
        f"{with_interval(figures[BRIER])}.",
        "A probability is calibrated to the share of positive slices in this data, not to a "
        "hospital's.",
    ]


def _describe_choice(point: OperatingPoint) -> str:
    """Where the threshold comes from, as the end of a sentence, and how sure it is."""
    how = {
        SENSITIVITY_RULE: "chosen for a sensitivity of "
        f"{number(point.target_sensitivity or math.nan, 2)} on the validation split",
        YOUDEN_RULE: "chosen where sensitivity and specificity add up to most on the validation "
        "split",
    }.get(point.rule, "as the configuration has it")
    ranges = [
        f"{name} of {number(low)} to {number(high)}"
        for name, (low, high) in (
            ("sensitivity", point.sensitivity_interval),
            ("specificity", point.specificity_interval),
        )
    ]
    return (
        f"{how}. There, 95 % of {count(point.resamples, 'resample')} of the validation patients "
        f"have a {' and a '.join(ranges)}."
    )


def describe_threshold(facts: RunFacts) -> str:
    """The operating point and where it comes from."""
    training = facts.training
    return (
        "A slice is called positive where its calibrated probability is at least "
        f"{number(training.threshold)}, "
        + (
            _describe_choice(training.operating_point)
            if training.operating_point
            else "chosen on the validation split."
        )
    )
