"""The extractors of the evaluation: TFMA's own, and one that writes every prediction down.

TFX loads this module by name and reloads it while it does, so that it must hold no state.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors.predictions_extractor import (
    PREDICTIONS_EXTRACTOR_STAGE_NAME,
)

from components.slice_evaluator.model_names import CANDIDATE
from components.slice_evaluator.predictions import PREFIX, SlicePrediction, destination
from transform import ct_example, prediction

_FEATURES = (ct_example.IMAGE_ID, ct_example.PATIENT_ID, ct_example.LABEL)
_OUTPUTS = (prediction.PROBABILITY, prediction.DECISION, prediction.THRESHOLD)


def _to_lines(extracts: dict[str, Any]) -> Iterator[str]:
    """JSON lines of a batch of TFMA extracts."""
    predictions = extracts[tfma.PREDICTIONS_KEY]
    # With a baseline TFMA keeps the predictions of each model under its name.
    predictions = predictions.get(CANDIDATE, predictions)
    columns = [
        # TFMA gives a single value a slice as [batch] or [batch, 1].
        np.ravel(values).tolist()
        for values in (
            *(extracts[tfma.FEATURES_KEY][name] for name in _FEATURES),
            *(predictions[name] for name in _OUTPUTS),
        )
    ]
    for image_id, patient_id, label, probability, decision, threshold in zip(*columns, strict=True):
        one = SlicePrediction(
            id=image_id.decode(),
            patient_id=patient_id.decode(),
            label=label,
            probability=probability,
            decision=decision,
            threshold=threshold,
        )
        yield json.dumps(dataclasses.asdict(one), ensure_ascii=False)


@beam.ptransform_fn
def _write_and_pass(extracts: beam.PCollection, path: str) -> beam.PCollection:
    _ = (
        extracts
        | "PredictionsToJson" >> beam.FlatMap(_to_lines)
        | "WritePredictions" >> beam.io.WriteToText(path, file_name_suffix=".jsonl")
    )
    return extracts


def custom_extractors(
    eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """TFMA's own extractors, then one that writes the predictions (called by TFX's Evaluator)."""
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    names = [extractor.stage_name for extractor in extractors]
    after_predictions = names.index(PREDICTIONS_EXTRACTOR_STAGE_NAME) + 1
    writer = tfma.extractors.Extractor(
        stage_name="WritePredictions",
        ptransform=_write_and_pass(f"{destination()}/{PREFIX}"),
    )
    return [*extractors[:after_predictions], writer, *extractors[after_predictions:]]
