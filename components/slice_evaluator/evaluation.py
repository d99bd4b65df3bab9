"""The record of an evaluation: all that was measured and judged, in one JSON file.

`Evaluation` says what is in it. Where JSON has no number, because a figure is undefined, the file
has null.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from pathlib import Path
from typing import Any

from components.slice_evaluator.gate import BoundResult, GateResult, LeakAlarm
from components.slice_evaluator.measured import Part
from transform.errors import ConfigError

FILE = "evaluation.json"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What the evaluation of one model found.

    Attributes:
      passed: whether every bound held.
      threshold: the candidate's operating point.
      confidence: of the intervals.
      resamples: of the patients, from which they are.
      seed: of the resamples.
      bounds: every bound that applied.
      leak_alarm: whether the result is too good to be true.
      overall: of the whole test split.
      groups: by grouping (see `groups.GROUPINGS`) and group.
    """

    passed: bool
    threshold: float
    confidence: float
    resamples: int
    seed: int
    bounds: list[BoundResult]
    leak_alarm: LeakAlarm
    overall: Part
    groups: dict[str, dict[str, Part]]

    @property
    def gate(self) -> GateResult:
        """The figures by name, and the bounds."""
        return GateResult(self.overall.metrics(), self.bounds, self.leak_alarm)

    def to_json(self) -> str:
        """The record as one JSON object."""
        return json.dumps(
            _without_nan(dataclasses.asdict(self)), indent=1, ensure_ascii=False, allow_nan=False
        )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Asked anew for each of a thousand groups, it takes longer than all else.
_types_of = functools.cache(typing.get_type_hints)


def _built(kind: Any, value: Any) -> Any:
    """JSON's value as a type of this record: a data class, a mapping, a list or a plain one."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        (kind,) = (one for one in arguments if one is not types.NoneType)
        return None if value is None else _built(kind, value)
    if origin is dict:
        return {key: _built(arguments[1], item) for key, item in value.items()}
    if origin is list:
        return [_built(arguments[0], item) for item in value]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        types_of = _types_of(kind)
        return kind(**{name: _built(types_of[name], item) for name, item in value.items()})
    if kind is float:
        return math.nan if value is None else float(value)
    return value


def read_evaluation(folder: Path, *, groups: bool = True) -> Evaluation:
    """Read the record in an evaluation artifact's folder.

    Args:
      folder: of the artifact.
      groups: whether to take in the groups, of which there may be thousands; else `groups` is
        empty.

    Raises:
      ConfigError: there is none that this version can read.
    """
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if not groups:
            values = {**values, "groups": {}}
        evaluation: Evaluation = _built(Evaluation, values)
    except FileNotFoundError:
        raise ConfigError(
            f"{folder}: no {FILE}: another version of ctnet evaluated here; start the run again"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        line = " ".join(f"{error}".split())
        raise ConfigError(
            f"{folder / FILE}: damaged, or of another version of ctnet ({line}); start the run "
            "again"
        ) from None
    return evaluation
