"""The extractors of the evaluation: TFMA's own, and one that tells groups and writes predictions.

TFX loads this module by name and reloads it while it does, so that it must hold no state.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors.unbatch_extractor import UNBATCH_EXTRACTOR_STAGE_NAME

from components.slice_evaluator.groups import groups_of
from components.slice_evaluator.model_names import BASELINE, CANDIDATE
from components.slice_evaluator.predictions import (
    BASELINE_PREFIX,
    PREFIX,
    SlicePrediction,
    destination,
)
from components.slice_evaluator.tfma_extracts import said_by, scalar
from transform import ct_example, prediction

GROUP_FEATURE = "group/"
"""Begins the names of the features that tell a slice's groups."""


def _with_groups(extracts: dict[str, Any]) -> dict[str, Any]:
    """The extracts of a slice with a feature a grouping, by which TFMA can slice."""
    features = extracts[tfma.FEATURES_KEY]
    told = {
        f"{GROUP_FEATURE}{grouping}": np.array([group.encode()], object)
        for grouping, group in groups_of(features).items()
    }
    extracts = copy.copy(extracts)
    extracts[tfma.FEATURES_KEY] = {**features, **told}
    return extracts


def _prediction_of(extracts: dict[str, Any], model_name: str) -> SlicePrediction | None:
    """What a model said of a slice; None where there is no such model."""
    features = extracts[tfma.FEATURES_KEY]
    said = said_by(extracts[tfma.PREDICTIONS_KEY], model_name)
    if said is None:
        return None
    return SlicePrediction(
        id=scalar(features[ct_example.IMAGE_ID]).decode(),
        patient_id=scalar(features[ct_example.PATIENT_ID]).decode(),
        label=scalar(features[ct_example.LABEL]),
        probability=scalar(said[prediction.PROBABILITY]),
        decision=scalar(said[prediction.DECISION]),
        threshold=scalar(said[prediction.THRESHOLD]),
        groups=groups_of(features),
    )


def _to_lines(extracts: dict[str, Any], model_name: str) -> Iterator[str]:
    """The JSON line of a slice; none where there is no such model."""
    one = _prediction_of(extracts, model_name)
    if one is not None:
        yield json.dumps(dataclasses.asdict(one), ensure_ascii=False)


@beam.ptransform_fn
def _group_and_write(
    extracts: beam.PCollection, folder: str, prefixes: dict[str, str]
) -> beam.PCollection:
    for model_name, prefix in prefixes.items():
        _ = (
            extracts
            | f"PredictionsToJson[{model_name}]" >> beam.FlatMap(_to_lines, model_name)
            | f"WritePredictions[{model_name}]"
            >> beam.io.WriteToText(f"{folder}/{prefix}", file_name_suffix=".jsonl")
        )
    return extracts | "TellGroups" >> beam.Map(_with_groups)


def custom_extractors(
    eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """TFMA's own extractors, with ours once slices are one by one (called by TFX's Evaluator)."""
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    names = [extractor.stage_name for extractor in extractors]
    # TFMA tells slices from features next, so that the groups must be there by then.
    after = names.index(UNBATCH_EXTRACTOR_STAGE_NAME) + 1
    prefixes = {CANDIDATE: PREFIX}
    if any(spec.name == BASELINE for spec in eval_config.model_specs):
        prefixes[BASELINE] = BASELINE_PREFIX
    ours = tfma.extractors.Extractor(
        stage_name="GroupAndWritePredictions",
        ptransform=_group_and_write(destination(), prefixes),
    )
    return [*extractors[:after], ours, *extractors[after:]]
