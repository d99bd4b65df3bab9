"""What ctnet knows about licences, and what only its user can know."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from components.run_facts.facts import RunFacts
from components.slice_evaluator.groups import SOURCE

IMAGENET, NONE = "imagenet", "none"
"""What a network begins with, as trainer.weights has it, which components must not import."""

_DOI = re.compile(r"10\.\d{4,9}/\S+")


def source_names(facts: RunFacts) -> set[str]:
    """All sources that are known by name."""
    tested = facts.evaluation.groups.get(SOURCE, {})
    return {*tested, *(name for split in facts.splits.values() for name in split.sources)}


def from_publications(facts: RunFacts) -> bool:
    """Whether a source is a DOI, so that slices were cut out of a publication."""
    return any(_DOI.fullmatch(name) for name in source_names(facts))


def _describe_weights(facts: RunFacts) -> str:
    lineage = facts.lineage
    if lineage.parent:
        return (
            "Training began with an earlier model of this pipeline: the terms of what that one "
            "began with, and of its data, hold here too."
        )
    asked = facts.settings.config.get("model", {}).get("weights", lineage.weights)
    if IMAGENET in (asked, lineage.weights):
        return (
            "The backbone began with the weights that tf_keras fetches for EfficientNetB3, trained "
            "on ImageNet. tf_keras is under the Apache License 2.0. ImageNet gives its pictures "
            "for non-commercial research and education; whether weights learned from them may "
            "serve your purpose is for you to find out."
        )
    if lineage.weights == NONE:
        return "The network began with random weights: no terms of pretrained weights apply."
    if lineage.weights:
        file = PurePosixPath(lineage.weights).name
        return (
            f"The backbone began with the weights of the file {file}, whose terms ctnet does not "
            "know."
        )
    return "What the network began with is not recorded."


def describe_licences(facts: RunFacts) -> list[str]:
    """Terms of the weights, the data and the model, a sentence each."""
    sentences = [
        _describe_weights(facts),
        "ctnet does not know the terms of the data, nor whether patients agreed to this use: name "
        "both before you pass the model on.",
    ]
    if from_publications(facts):
        sentences.append(
            "Some sources are publications, named by their DOI: the terms of each hold for the "
            "slices that were cut out of it."
        )
    return [
        *sentences,
        "ctnet is under the Apache License 2.0; that says nothing of models trained with it.",
    ]
