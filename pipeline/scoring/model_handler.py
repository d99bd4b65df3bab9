"""Model handler: how Beam's RunInference asks the model, through the code of the server."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from components.ct_example_gen.quarantine import QuarantinedSlice
from pipeline.scoring.scored_slice import PlacedInQuarantine, ReadSlice, ScoredSlice
from serving.call_limits import NO_LIMITS
from serving.loaded_model import LoadedModel
from serving.model_versions import ModelVersion
from serving.request_error import RequestError
from transform.prediction import (
    DECISION,
    EXAMPLES,
    IMAGE_BYTES,
    PREDICT_IMAGE,
    PROBABILITY,
    SERVING_DEFAULT,
    THRESHOLD,
)
from transform.reading import Reason

_ALIASES = {SERVING_DEFAULT: EXAMPLES, PREDICT_IMAGE: IMAGE_BYTES}


class SliceModelHandler(ModelHandler):
    """Asks one version about batches of slices of one signature."""

    def __init__(self, folder: str, number: int, progress: str):
        """Say what to ask.

        Args:
          folder: of the SavedModel.
          number: of the version.
          progress: a folder, in which each worker's file grows by a byte a slice.
        """
        super().__init__()
        self._folder = folder
        self._number = number
        self._progress = progress

    def load_model(self) -> LoadedModel:
        """Load the SavedModel, once a process."""
        return LoadedModel(ModelVersion(self._number, Path(self._folder)))

    def run_inference(
        self,
        batch: Sequence[ReadSlice],
        model: LoadedModel,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[ScoredSlice | PlacedInQuarantine]:
        """Ask about slices of one signature.

        Raises:
          RequestError: the model failed, and not because of a slice.
        """
        answers = _ask(batch, model)
        worker = f"{os.getpid()}-{threading.get_ident()}"
        with (Path(self._progress) / worker).open("ab") as file:
            file.write(b"." * len(batch))
        return answers

    def override_metrics(self, metrics_namespace: str = "") -> bool:
        """Leave out Beam's own metrics, for which it pickles every batch."""
        return True


def _ask(batch: Sequence[ReadSlice], model: LoadedModel) -> list[ScoredSlice | PlacedInQuarantine]:
    signature = batch[0].signature
    values = np.array([one.value for one in batch], dtype=object)
    try:
        said = model.compute(signature, {_ALIASES[signature]: values}, NO_LIMITS)
    except RequestError as error:
        if error.code is not grpc.StatusCode.INVALID_ARGUMENT:
            raise
        if len(batch) > 1:
            # One slice that the graph refuses takes its whole batch down.
            return [answer for one in batch for answer in _ask([one], model)]
        (refused,) = batch
        return [_refused(refused, error)]
    return [
        ScoredSlice(one.name, float(probability), int(decision), float(threshold))
        for one, probability, decision, threshold in zip(
            batch, said[PROBABILITY], said[DECISION], said[THRESHOLD], strict=True
        )
    ]


def _refused(one: ReadSlice, error: RequestError) -> PlacedInQuarantine:
    name = one.name
    detail = f"{name.id} is refused by the model: {error.message}"
    frame = None if name.number is None else name.number - 1
    placed = QuarantinedSlice(name.id, name.path, Reason.UNREADABLE.value, detail, frame)
    return PlacedInQuarantine(name.place, name.patient, placed)
