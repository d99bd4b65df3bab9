"""What a run of a compiled definition may be given anew, and how a step takes it up.

A step's own parameters are constants of the definition, most of them JSON. A runtime parameter
comes beside them and takes its place among them when the step begins, checked as the configuration
checks it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from pipeline.config import RunConfig, parse_config
from transform.errors import ConfigError

_REPORTS = ("ModelCardGen", "ReportGen")
_SETTINGS = "settings"
_MINIMUM = ("value", "lower_bound")


@dataclasses.dataclass(frozen=True)
class RuntimeParameter:
    """One of them.

    Attributes:
      name: as a run is given it.
      kind: `str`, `int` or `float`.
      key: of the configuration, which has its default and its limits.
      step: that uses it.
      place: the step's parameter, and the keys inside of its JSON.
      description: for whoever starts a run.
    """

    name: str
    kind: type
    key: str
    step: str
    place: tuple[str, ...]
    description: str

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that are given it: the one that uses it, and those that tell of it."""
        return (self.step,) if self.key == "data" else (self.step, *_REPORTS)

    def default(self, config: RunConfig, data: str) -> str | float:
        """What the configuration says."""
        if self.key == "data":
            return data
        value: Any = config.model_dump()
        for part in self.key.split("."):
            value = value[part]
        if isinstance(value, dict):
            value = next(value[name] for name in _MINIMUM if value[name] is not None)
        return self.kind(value)

    def checked(self, value: Any) -> Any:
        """The value as the step takes it.

        Raises:
          ConfigError: it is none that the configuration would let pass.
        """
        where = f"runtime parameter {self.name}"
        if self.kind is not str:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or (self.kind is int and int(value) != value):
                raise ConfigError(f"{where}: {value!r} must be a number")
            value = self.kind(value)
        elif not isinstance(value, str) or not value.strip():
            raise ConfigError(f"{where}: {value!r} must be text, and not empty")
        if self.key == "data":
            return value
        values: Any = value
        for part in reversed(self.key.split(".")):
            values = {part: values}
        try:
            parse_config(values)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        return value


RUNTIME_PARAMETERS = (
    RuntimeParameter(
        "data",
        str,
        "data",
        "CTExampleGen",
        ("data",),
        "the manifest, or a folder of spans, as the steps see it",
    ),
    RuntimeParameter(
        "span",
        str,
        "ingest.span",
        "CTExampleGen",
        ("settings", "span"),
        "newest, the number of a span, or last:K",
    ),
    RuntimeParameter(
        "epochs",
        int,
        "train.epochs",
        "Trainer",
        ("custom_config", "fit", "epochs"),
        "of training",
    ),
    RuntimeParameter(
        "min_sensitivity",
        float,
        "gate.min_sensitivity",
        "SliceEvaluator",
        ("bounds", "min_sensitivity", "at_least"),
        "what a model must reach to be pushed",
    ),
    RuntimeParameter(
        "min_specificity",
        float,
        "gate.min_specificity",
        "SliceEvaluator",
        ("bounds", "min_specificity", "at_least"),
        "what a model must reach to be pushed",
    ),
)
"""In the order in which a run shows them; the image is no parameter of any step's work."""


def _set_inside(text: str, keys: tuple[str, ...], value: Any) -> str:
    """A JSON object with one value replaced; the order of its keys is kept."""
    values = json.loads(text)
    inner = values
    for key in keys[:-1]:
        inner = inner[key]
    if keys[-1] not in inner:
        raise KeyError(keys[-1])
    inner[keys[-1]] = value
    return json.dumps(values)


def _told(text: str, parameter: RuntimeParameter, value: Any) -> str:
    """The settings that a report shows, with the value that the run was given."""
    keys = ("config", *parameter.key.split("."))
    inner = json.loads(text)
    for key in keys:
        inner = inner[key]
    if isinstance(inner, dict):
        keys = (*keys, next(name for name in _MINIMUM if inner[name] is not None))
    return _set_inside(text, keys, value)


def take_up(step: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A step's parameters with the runtime parameters among them.

    Args:
      step: its name in the DAG.
      parameters: as Kubeflow gives them, runtime parameters beside the step's own.

    Raises:
      ConfigError: a runtime parameter has a value that it cannot have.
    """
    taken = dict(parameters)
    for one in RUNTIME_PARAMETERS:
        if step not in one.steps or one.name not in taken:
            continue
        value = one.checked(taken.pop(one.name))
        if step != one.step:
            taken[_SETTINGS] = _told(taken[_SETTINGS], one, value)
        elif len(one.place) == 1:
            taken[one.place[0]] = value
        else:
            taken[one.place[0]] = _set_inside(taken[one.place[0]], one.place[1:], value)
    return taken
