"""What the model said of every evaluated slice, a JSON line each."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors.predictions_extractor import (
    PREDICTIONS_EXTRACTOR_STAGE_NAME,
)

from transform import ct_example, prediction

PREFIX = "predictions"
CANDIDATE = "candidate"
BASELINE = "baseline"


@dataclasses.dataclass(frozen=True)
class SlicePrediction:
    """The candidate's answer for one slice.

    Attributes:
      id: the slice.
      patient_id: whose it is.
      label: 1 positive, 0 negative.
      probability: calibrated.
      decision: 1 or 0, at the model's operating point.
      threshold: the operating point.
    """

    id: str
    patient_id: str
    label: int
    probability: float
    decision: int
    threshold: float


def read_predictions(evaluation: Path) -> Iterator[SlicePrediction]:
    """The predictions in an evaluation artifact's folder, one at a time."""
    for file in sorted(evaluation.glob(f"{PREFIX}-*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                yield SlicePrediction(**json.loads(line))


_destination: contextvars.ContextVar[str] = contextvars.ContextVar("predictions_destination")


@contextlib.contextmanager
def written_to(folder: str) -> Iterator[None]:
    """Have the extractors that are built within this context write below a folder.

    TFX builds the extractors itself and tells them nothing of where its artifacts are.
    """
    token = _destination.set(folder)
    try:
        yield
    finally:
        _destination.reset(token)


def _to_lines(extracts: dict[str, Any]) -> Iterator[str]:
    """JSON lines of a batch of TFMA extracts."""
    predictions = extracts[tfma.PREDICTIONS_KEY]
    # With a baseline TFMA keeps the predictions of each model under its name.
    predictions = predictions.get(CANDIDATE, predictions)
    features = extracts[tfma.FEATURES_KEY]
    ids, patients = features[ct_example.IMAGE_ID], features[ct_example.PATIENT_ID]
    labels = features[ct_example.LABEL]
    for row in range(len(ids)):
        yield json.dumps(
            dataclasses.asdict(
                SlicePrediction(
                    id=ids[row].item().decode(),
                    patient_id=patients[row].item().decode(),
                    label=int(labels[row].item()),
                    probability=float(predictions[prediction.PROBABILITY][row]),
                    decision=int(predictions[prediction.DECISION][row]),
                    threshold=float(predictions[prediction.THRESHOLD][row]),
                )
            ),
            ensure_ascii=False,
        )


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
        ptransform=_write_and_pass(f"{_destination.get()}/{PREFIX}"),
    )
    return [*extractors[:after_predictions], writer, *extractors[after_predictions:]]
