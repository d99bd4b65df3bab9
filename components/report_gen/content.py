"""What a report is made of, read from the artifacts of a run (import `tfx.v1` before this)."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from components.ct_example_gen.outcome import IngestOutcome, read_outcome
from components.ct_example_gen.quarantine import QuarantinedSlice, read_quarantine
from components.serving_validator import outcome as serving_outcome
from components.slice_evaluator.evaluation import read_evaluation
from components.slice_evaluator.gate import GateResult
from components.slice_evaluator.predictions import SlicePrediction, read_predictions
from transform.training_record import PICTURES, TrainingRecord, read_record

# More would bury the reader; the quarantine itself has all of them.
QUARANTINED_SHOWN = 200

_PACKAGES = (
    "ctnet",
    "tfx",
    "tensorflow",
    "tf-keras",
    "tensorflow-transform",
    "tensorflow-model-analysis",
    "apache-beam",
    "pydicom",
    "numpy",
)


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
      name: the run's.
      created: when the evaluation was made, ISO 8601.
      outcome: what came of the manifest.
      quarantined: the first slices in quarantine; `outcome.quarantined` counts all of them.
      training: learning curves, calibration, operating point.
      training_pictures: SVG files that training drew, by name; a run of an older release has none.
      gate: figures on the test split, and the bounds.
      predictions: what the model said of the test split.
      blessed: whether the evaluation let the model pass.
      serving: what came of asking it in a server; None where it was not tried.
      pushed: whether it is served now.
      version: as which version; None where it was not pushed.
      destination: where to; None where it was not pushed.
      versions: of packages, by name.
      config: the run's configuration.
      leaks: sentences about how test data may have leaked into training.
    """

    name: str
    created: str
    outcome: IngestOutcome
    quarantined: list[QuarantinedSlice]
    training: TrainingRecord
    training_pictures: dict[str, str]
    gate: GateResult
    predictions: Predictions
    blessed: bool
    serving: serving_outcome.ServingOutcome | None
    pushed: bool
    version: str | None
    destination: str | None
    versions: dict[str, str]
    config: dict[str, Any]
    leaks: list[str]

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before the figures."""
        alarm = self.gate.alarm
        accepted = (
            [f"The leak alarm went off and was accepted: {alarm.says}."]
            if alarm and alarm.accepted
            else []
        )
        cautions = [f"{one[0].upper()}{one[1:]}." for one in self.training.cautions]
        return [*self.leaks, *accepted, *cautions]


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide what a model becomes; those not installed left out."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def gather(
    *,
    quarantine: Path,
    training: Path,
    evaluation: Path,
    serving: Path | None,
    name: str,
    created: str,
    blessed: bool,
    pushed: bool,
    version: str | None,
    destination: str | None,
    config: dict[str, Any],
    leaks: list[str],
) -> ReportContent:
    """Read a report's content from the folders of artifacts.

    Args:
      quarantine: of CTExampleGen's `quarantine`.
      training: of the Trainer's `model_run`.
      evaluation: of SliceEvaluator's `evaluation`.
      serving: of ServingValidator's `blessing`; None where the model was not tried in a server.
      name: see `ReportContent`, as for the others.
      created: ISO 8601.
      blessed: whether the evaluation let the model pass.
      pushed: whether the model is served now.
      version: None where it was not pushed.
      destination: None where it was not pushed.
      config: the run's configuration.
      leaks: sentences.

    Raises:
      OSError: a folder lacks a file that its step leaves.
      ConfigError: the evaluation is of another version of ctnet.
    """
    return ReportContent(
        name=name,
        created=created,
        outcome=read_outcome(quarantine),
        quarantined=list(itertools.islice(read_quarantine(quarantine), QUARANTINED_SHOWN)),
        training=read_record(training),
        training_pictures={
            name: path.read_text(encoding="utf-8")
            for name in PICTURES
            if (path := training / f"{name}.svg").exists()
        },
        gate=read_evaluation(evaluation).gate,
        predictions=in_columns(read_predictions(evaluation)),
        blessed=blessed,
        serving=serving_outcome.read_outcome(serving) if serving else None,
        pushed=pushed,
        version=version,
        destination=destination,
        versions=package_versions(),
        config=config,
        leaks=leaks,
    )
