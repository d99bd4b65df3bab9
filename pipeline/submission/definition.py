"""A compiled definition as an endpoint is given it: its name, its bytes and its parameters."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from transform.errors import ConfigError

# The first of each pair is that of pipeline spec 2.1, the second that of 2.0.
_TEXT = ("STRING", "STRING")
_WHOLE = ("NUMBER_INTEGER", "INT")
_REAL = ("NUMBER_DOUBLE", "DOUBLE")
_TRUTH = "BOOLEAN"
_JSON = {"LIST": list, "STRUCT": dict}


@dataclasses.dataclass(frozen=True)
class Definition:
    """A definition that `ctnet compile kubeflow` wrote.

    Attributes:
      path: its file.
      name: of the pipeline.
      parameters: what a run may set: kinds by name.
      required: those among them that a run has to set.
    """

    path: Path
    name: str
    parameters: Mapping[str, str]
    required: tuple[str, ...]

    @property
    def version(self) -> str:
        """Changes with the file's content, and with nothing else."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return f"{self.name}-{digest[:12]}"


def read_definition(path: Path) -> Definition:
    """Read a definition.

    Raises:
      ConfigError: it cannot be read, or is none for Kubeflow Pipelines.
    """
    try:
        # The second document, where there is one, is about the platform.
        first: Any = next(yaml.safe_load_all(path.read_text()), None)
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; write one with ctnet compile kubeflow"
        ) from None
    except (UnicodeDecodeError, yaml.YAMLError):
        first = None
    if isinstance(first, dict) and "pipelineSpec" in first:
        raise ConfigError(
            f"{path}: is for Vertex AI; compile one whose name ends in .yaml for Kubeflow Pipelines"
        )
    try:
        # What kfp uploads, by the name's ending.
        if path.suffix not in (".yaml", ".yml"):
            raise TypeError
        name = first["pipelineInfo"]["name"]
        given = first["root"].get("inputDefinitions", {}).get("parameters", {})
        parameters = {
            key: str(one.get("parameterType", one.get("type"))) for key, one in given.items()
        }
    except (TypeError, KeyError, AttributeError):
        raise ConfigError(
            f"{path}: is no definition of a pipeline; write one with ctnet compile kubeflow "
            "--output FILE.yaml"
        ) from None
    required = tuple(
        key for key, one in given.items() if "defaultValue" not in one and not one.get("isOptional")
    )
    return Definition(path, name, parameters, required)


def read_parameters(definition: Definition, assignments: Iterable[str]) -> dict[str, Any]:
    """What a run sets, as the kinds that the definition gives its parameters.

    Args:
      definition: whose parameters are meant.
      assignments: KEY=VALUE.

    Raises:
      ConfigError: there is no such parameter, it takes another kind of value, or one is missing.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--parameter {assignment!r}: give KEY=VALUE")
        if key not in definition.parameters:
            known = ", ".join(sorted(definition.parameters)) or "none"
            raise ConfigError(
                f"--parameter {key}: {definition.path} has no such parameter; it has {known}"
            )
        if key in values:
            raise ConfigError(f"--parameter {key}: is given twice")
        values[key] = _value(key, text, definition.parameters[key])
    missing = [key for key in definition.required if key not in values]
    if missing:
        raise ConfigError(f"--parameter {missing[0]}=VALUE: is missing, and has no default")
    return values


def _value(key: str, text: str, kind: str) -> Any:
    try:
        if kind in _TEXT:
            return text
        if kind in _WHOLE:
            return int(text)
        if kind in _REAL:
            number = float(text)
            if not math.isfinite(number):
                raise ValueError
            return number
        if kind == _TRUTH:
            return {"true": True, "false": False}[text.lower()]
        value = json.loads(text)
        if not isinstance(value, _JSON.get(kind, object)):
            raise ValueError
        return value
    except (ValueError, KeyError):
        raise ConfigError(
            f"--parameter {key}={text}: the definition wants {kind.lower().replace('_', ' ')}"
        ) from None
