"""The executor input of Kubeflow Pipelines, brought into the form that TFX's executors need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from components.last_accepted.record import ABSENT

Message = dict[str, Any]
"""A protocol buffer of KFP as JSON, in lower camel case."""


def parameters_of(executor_input: Message) -> Message:
    """The parameters of a step by name; changes reach the executor input."""
    values: Message = executor_input.setdefault("inputs", {}).setdefault("parameterValues", {})
    return values


def artifacts_of(side: Message) -> Iterator[Message]:
    """Every artifact of `inputs` or `outputs`."""
    for listed in side.get("artifacts", {}).values():
        yield from listed.get("artifacts", [])


def _types(inputs_spec: str | None) -> dict[str, Message]:
    """The types of a step's inputs, by name of the input."""
    declared = json.loads(inputs_spec).get("artifacts", {}) if inputs_spec else {}
    return {name: one["artifactType"] for name, one in declared.items()}


def complete(executor_input: Message, inputs_spec: str | None) -> None:
    """Add what platforms leave out, and take out inputs that stand for none.

    Open-source KFP says an input's address and properties, but not its type. TFX wants a name too,
    by which it tells artifacts apart.

    Args:
      executor_input: changed in place.
      inputs_spec: of the component, as TFX's compiler puts it on the command line.
    """
    inputs = executor_input.setdefault("inputs", {})
    types = _types(inputs_spec)
    artifacts = inputs.get("artifacts", {})
    for name, listed in list(artifacts.items()):
        listed["artifacts"] = [
            one
            for one in listed.get("artifacts", [])
            if not (one.get("metadata") or {}).get(ABSENT)
        ]
        if not listed["artifacts"]:
            del artifacts[name]
        for one in listed["artifacts"]:
            if name in types:
                one["type"] = types[name]
    for side in (inputs, executor_input.setdefault("outputs", {})):
        for one in artifacts_of(side):
            one["name"] = one.get("name") or one["uri"]
