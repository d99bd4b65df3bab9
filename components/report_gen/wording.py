"""How figures are named and written for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from components.slice_evaluator.gate import AUC, AUC_CHANGE, SENSITIVITY, SPECIFICITY

METRIC_NAMES = {
    SENSITIVITY: "Sensitivity",
    SPECIFICITY: "Specificity",
    AUC: "AUC",
    AUC_CHANGE: "Change of AUC against the last blessed model",
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
    "accuracy": "Accuracy",
    "f1": "F1 score",
    "example_count": "Slices",
}
"""Names of the gate's figures, in the order in which they are shown."""

_DIGITS, _MOST_DIGITS = 3, 9


def metric_name(metric: str) -> str:
    """A figure's name for people; one nobody named keeps its own."""
    return METRIC_NAMES.get(metric, metric)


def number(value: float, digits: int = _DIGITS) -> str:
    """A figure without unit, or "undefined" where there is none (NaN)."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def side_by_side(value: float, bound: float) -> tuple[str, str]:
    """A figure and its bound with as many digits as it takes to see that they differ."""
    digits = _DIGITS
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
