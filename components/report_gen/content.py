"""What a report is made of, read from the artifacts of a run (import `tfx.v1` before this)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from tfx import types
from tfx.types import artifact_utils

from components.ct_example_gen.quarantine import QuarantinedSlice, read_quarantine
from components.run_facts.facts import (
    EVALUATION,
    MODEL_RUN,
    QUARANTINE,
    RunFacts,
    RunSettings,
    gather_facts,
)
from components.serving_validator import outcome as serving_outcome
from components.slice_evaluator.predictions import SlicePrediction, read_predictions
from transform.training_record import PICTURES

# More would bury the reader; the quarantine itself has all of them.
QUARANTINED_SHOWN = 200

INFRA_BLESSING, PUSHED_MODEL = "infra_blessing", "pushed_model"
"""Keys of inputs that only the report needs; `INFRA_BLESSING` is optional."""


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """What the model said of the test split, a column each.

    Attributes:
      id: str [n], the slices.
      patient_id: str [n], whose they are.
      label: int8 [n], 1 positive, 0 negative.
      probability: float64 [n], calibrated.
      decision: int8 [n], 1 or 0 at the operating point.
    """

    id: np.ndarray
    patient_id: np.ndarray
    label: np.ndarray
    probability: np.ndarray
    decision: np.ndarray

    def __len__(self) -> int:
        return len(self.id)

    @property
    def patients(self) -> int:
        """How many patients the slices are of."""
        return len(set(self.patient_id))


def in_columns(slices: Iterable[SlicePrediction]) -> Predictions:
    """Predictions sorted by slice; Beam leaves them in any order, and a report has one."""
    rows = sorted(
        (one.id, one.patient_id, one.label, one.probability, one.decision) for one in slices
    )
    ids, patients, labels, probabilities, decisions = zip(*rows, strict=True) if rows else [()] * 5
    return Predictions(
        id=np.array(ids, object),
        patient_id=np.array(patients, object),
        label=np.array(labels, np.int8),
        probability=np.array(probabilities, np.float64),
        decision=np.array(decisions, np.int8),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything that a report says.

    Attributes:
      facts: what the model card is made of, too.
      quarantined: the first slices in quarantine; `facts.outcome.quarantined` counts all of them.
      training_pictures: SVG files that training drew, by name; a run of an older release has none.
      predictions: what the model said of the test split.
      serving: what came of asking it in a server; None where it was not tried.
      pushed: whether it is served now.
      version: as which version; None where it was not pushed.
      destination: where to; None where it was not pushed.
    """

    facts: RunFacts
    quarantined: list[QuarantinedSlice]
    training_pictures: dict[str, str]
    predictions: Predictions
    serving: serving_outcome.ServingOutcome | None
    pushed: bool
    version: str | None
    destination: str | None


def gather(inputs: Mapping[str, list[types.Artifact]], settings: RunSettings) -> ReportContent:
    """Read a report's content from the artifacts of a run.

    Args:
      inputs: of ReportGen.
      settings: of the run.

    Raises:
      OSError: a folder lacks a file that its step leaves.
      ConfigError: the evaluation is of another version of ctnet.
    """

    def folder(key: str) -> Path:
        return Path(artifact_utils.get_single_uri(inputs[key]))

    training = folder(MODEL_RUN)
    # Names as in tfx.components.pusher.executor, where they are private.
    pushed = artifact_utils.get_single_instance(inputs[PUSHED_MODEL])
    return ReportContent(
        facts=gather_facts(inputs, settings),
        quarantined=list(itertools.islice(read_quarantine(folder(QUARANTINE)), QUARANTINED_SHOWN)),
        training_pictures={
            name: path.read_text(encoding="utf-8")
            for name in PICTURES
            if (path := training / f"{name}.svg").exists()
        },
        predictions=in_columns(read_predictions(folder(EVALUATION))),
        serving=serving_outcome.read_outcome(folder(INFRA_BLESSING))
        if inputs.get(INFRA_BLESSING)
        else None,
        pushed=pushed.get_int_custom_property("pushed") == 1,
        version=pushed.get_string_custom_property("pushed_version") or None,
        destination=pushed.get_string_custom_property("pushed_destination") or None,
    )
