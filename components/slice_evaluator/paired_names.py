"""A paired comparison as named numbers, and back: all that a TFMA metric can put out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from components.slice_evaluator.paired_comparison import (
    DeLong,
    Difference,
    McNemar,
    PairedComparison,
)

_PREFIX = "paired_"
_Kind = TypeVar("_Kind", Difference, DeLong)


def flatten(comparison: PairedComparison) -> dict[str, float]:
    """Every number of a comparison, by a name such as `paired_auc_difference`."""
    named: dict[str, float] = {}
    for name, value in dataclasses.asdict(comparison).items():
        if isinstance(value, dict):
            named |= {f"{_PREFIX}{name}_{part}": float(number) for part, number in value.items()}
        else:
            named[f"{_PREFIX}{name}"] = float(value)
    return named


def is_there(named: Mapping[str, float]) -> bool:
    """Whether numbers of a comparison are among these."""
    return f"{_PREFIX}rows" in named


def unflatten(named: Mapping[str, float]) -> PairedComparison:
    """The comparison that `flatten` took apart.

    Raises:
      KeyError: one of its numbers is not there.
    """

    def part(kind: type[_Kind], name: str) -> _Kind:
        fields = dataclasses.fields(kind)
        return kind(**{one.name: named[f"{_PREFIX}{name}_{one.name}"] for one in fields})

    mcnemar = f"{_PREFIX}mcnemar_"
    return PairedComparison(
        rows=int(named[f"{_PREFIX}rows"]),
        patients=int(named[f"{_PREFIX}patients"]),
        auc=part(Difference, "auc"),
        sensitivity=part(Difference, "sensitivity"),
        specificity=part(Difference, "specificity"),
        delong=part(DeLong, "delong"),
        mcnemar=McNemar(
            only_baseline_right=int(named[f"{mcnemar}only_baseline_right"]),
            only_candidate_right=int(named[f"{mcnemar}only_candidate_right"]),
            p_value=named[f"{mcnemar}p_value"],
        ),
    )
