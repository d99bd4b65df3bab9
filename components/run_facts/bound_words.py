"""A bound of the gate in words, as the report, the model card and the verdict show it."""

from __future__ import annotations

import dataclasses

from components.run_facts.wording import limit_of, metric_name, side_by_side, side_of
from components.slice_evaluator.gate import BoundResult


@dataclasses.dataclass(frozen=True)
class BoundWords:
    """One bound.

    Attributes:
      name: of its figure.
      value: the figure, with as many digits as it takes to tell it from the limit.
      must_be: the limit and its side, as in "at least 0.800".
      passed: whether it holds.
    """

    name: str
    value: str
    must_be: str
    passed: bool


def in_words(bound: BoundResult) -> BoundWords:
    """A bound for people."""
    value, limit = side_by_side(bound.value, limit_of(bound))
    return BoundWords(metric_name(bound.metric), value, f"{side_of(bound)} {limit}", bound.passed)
