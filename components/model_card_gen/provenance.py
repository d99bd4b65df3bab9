"""What a model was made from, to find it again and make it again."""

from __future__ import annotations

from pathlib import PurePosixPath

from components.run_facts.facts import RunFacts

_UNKNOWN = "not recorded"


def _short(place: str) -> str:
    """The end of a path: where this machine keeps its files is nobody's business elsewhere."""
    return "/".join(PurePosixPath(place).parts[-3:]).lstrip("/")


def _beginning(facts: RunFacts) -> tuple[str, str]:
    lineage = facts.lineage
    if lineage.parent:
        return "Began with the model", _short(lineage.parent)
    if lineage.weights:
        return "Began with the weights", PurePosixPath(lineage.weights).name
    return "Began with", _UNKNOWN


def describe_lineage(facts: RunFacts) -> list[tuple[str, str]]:
    """Name and value of what the model was made from."""
    lineage, training = facts.lineage, facts.training
    return [
        ("Run", facts.settings.name),
        ("Evaluated", facts.evaluated),
        ("Fingerprint of the data", lineage.data_fingerprint or _UNKNOWN),
        ("Version of the training code", lineage.code_version or _UNKNOWN),
        _beginning(facts),
        ("Seed", _UNKNOWN if training.seed is None else f"{training.seed}"),
        *training.versions.items(),
    ]
