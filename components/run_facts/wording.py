"""How figures are named and written for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from components.run_facts.numbers import DIGITS
from components.run_facts.numbers import interval as interval
from components.run_facts.numbers import number as number
from components.run_facts.numbers import p_value as p_value
from components.slice_evaluator.confidence_intervals import FEW_PATIENTS
from components.slice_evaluator.figure_names import EXAMPLE_COUNT, LOWER, PATIENTS, name_of
from components.slice_evaluator.figures import (
    ACCURACY,
    AUC,
    AVERAGE_PRECISION,
    BRIER,
    CALIBRATION_ERROR,
    F1,
    F1_NEGATIVE,
    NPV,
    PPV,
    SENSITIVITY,
    SPECIFICITY,
)
from components.slice_evaluator.gate import AUC_CHANGE, LEAK_ALARM, SHORTCUT, BoundResult
from components.slice_evaluator.groups import (
    AGE,
    FROM_40,
    FROM_60,
    FROM_80,
    HOUNSFIELD,
    SEX,
    SOURCE,
    UNDER_40,
)
from components.slice_evaluator.measured import Figure
from transform import ct_example

METRIC_NAMES = {
    SENSITIVITY: "Sensitivity",
    SPECIFICITY: "Specificity",
    AUC: "AUC",
    AUC_CHANGE: "Change of AUC against the last blessed model",
    PPV: "Positive predictive value",
    NPV: "Negative predictive value",
    ACCURACY: "Accuracy",
    F1: "F1 score",
    EXAMPLE_COUNT: "Slices",
}
"""Names of the gate's figures, in the order in which they are shown."""

FIGURE_NAMES = {
    **METRIC_NAMES,
    F1_NEGATIVE: "F1 score of the negative class",
    AVERAGE_PRECISION: "Average precision",
    BRIER: "Brier score",
    CALIBRATION_ERROR: "Expected calibration error",
}
"""Names of all figures of an evaluation (see `figures.FIGURES`), and of the gate's."""

GROUPING_NAMES = {SEX: "Sex", AGE: "Age", SOURCE: "Source", HOUNSFIELD: "Hounsfield units"}
"""Names of groupings for people."""

AGE_BANDS = (UNDER_40, FROM_40, FROM_60, FROM_80)
"""The groups of known age, the youngest first."""

FEW_PATIENTS_NOTE = (
    f"Where fewer than {FEW_PATIENTS} patients are on one side of a proportion (missed, or found), "
    "its interval is no narrower than Clopper and Pearson's exact one."
)
"""What a bootstrap does not say of the intervals, a sentence."""

_SPLIT_NAMES = {
    ct_example.TRAIN: "training",
    ct_example.EVAL: "validation",
    ct_example.TEST: "test",
}

_MOST_DIGITS = 9

_OF_BOUNDS = {
    LEAK_ALARM: "Accuracy, by the leak alarm,",
    # The wrong way round tells the classes apart just as well.
    SHORTCUT: "AUC without the lungs, either way round, at the least by its 95 % interval",
}


def split_name(split: str) -> str:
    """A split's name for people."""
    return _SPLIT_NAMES[split]


def metric_name(metric: str) -> str:
    """A figure's or bound's name for people; one nobody named keeps its own."""
    figure, bracket, group = metric.partition("[")
    of_patients = figure.startswith(name_of("", PATIENTS))
    plain = figure.removeprefix(name_of("", PATIENTS)).removesuffix(LOWER)
    named = {**METRIC_NAMES, **_OF_BOUNDS}.get(plain)
    if named is None:
        return metric
    return "".join(
        [
            named,
            " of patients" if of_patients else "",
            ", lower end of the 95 % interval" if figure.endswith(LOWER) else "",
            f" ({group.removesuffix(']')})" if bracket else "",
        ]
    )


def side_of(bound: BoundResult) -> str:
    """Whether a bound is "at least" or "at most"."""
    return "at least" if bound.at_most is None else "at most"


def limit_of(bound: BoundResult) -> float:
    """What a bound's figure is held against; NaN where there is neither bound."""
    limit = bound.at_least if bound.at_most is None else bound.at_most
    return math.nan if limit is None else limit


def with_interval(figure: Figure) -> str:
    """A figure with its 95 % interval, as in "0.855 (0.761 to 0.922)"."""
    if math.isnan(figure.value):
        return number(figure.value)
    return f"{number(figure.value)} ({interval(figure.lower, figure.upper)})"


def side_by_side(value: float, bound: float) -> tuple[str, str]:
    """A figure and its bound with as many digits as it takes to see that they differ."""
    digits = DIGITS
    while (
        value != bound and digits < _MOST_DIGITS and number(value, digits) == number(bound, digits)
    ):
        digits += 1
    return number(value, digits), number(bound, digits)


def count(amount: int, noun: str) -> str:
    """An amount of things, as in "1 slice" or "1,024 slices"."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def listed(items: list[str]) -> str:
    """Items as a person writes them: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def settings(config: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """A configuration as dotted keys and values, as `--set` takes them."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from settings(value, f"{above}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{above}{key}", text
