"""What a run's report and its model card are both made of (import `tfx.v1` before this)."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.types import artifact_utils

from components.ct_example_gen.outcome import IngestOutcome, read_outcome
from components.run_facts.leaks import remaining_leaks, touch_the_test
from components.run_facts.lineage import Lineage, read_lineage
from components.run_facts.split_facts import SplitFacts, read_split_facts
from components.shortcut_probes.outcome import ProbeResults, read_probes
from components.slice_evaluator.evaluation import Evaluation, read_evaluation
from components.slice_evaluator.gate import GateResult
from transform.training_record import TrainingRecord, read_record

QUARANTINE, MODEL, MODEL_RUN = "quarantine", "model", "model_run"
EVALUATION, BLESSING = "evaluation", "blessing"
PROBES, STATISTICS = "probes", "statistics"
"""Keys of the inputs that a step needs to gather facts; these two are optional."""


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What a run knows of itself before it begins.

    Attributes:
      name: the run's.
      config: its configuration, JSON values only, in the order in which it is shown.
      leaks: sentences about how test data may have leaked into training.
    """

    name: str
    config: dict[str, Any]
    leaks: list[str]

    def to_json(self) -> str:
        """The settings as a parameter of an execution; the order of the keys is kept."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RunSettings:
        """The settings that `to_json` wrote."""
        return cls(**json.loads(text))


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """What came of a run, up to its evaluation.

    Attributes:
      settings: what was known before.
      evaluated: when the evaluation was made, ISO 8601, UTC.
      outcome: what came of the manifest.
      training: learning curves, calibration, operating point, versions of packages.
      evaluation: figures on the test split, and the bounds.
      blessed: whether the evaluation let the model pass.
      lineage: what the model was made from.
      probes: what the model sees beside the lungs; None where nobody looked.
      splits: what the slices of each split are; empty where nobody counted.
    """

    settings: RunSettings
    evaluated: str
    outcome: IngestOutcome
    training: TrainingRecord
    evaluation: Evaluation
    blessed: bool
    lineage: Lineage
    probes: ProbeResults | None
    splits: dict[str, SplitFacts] = dataclasses.field(default_factory=dict)

    @property
    def gate(self) -> GateResult:
        """The figures of the whole test split by name, and the bounds."""
        return self.evaluation.gate

    @property
    def leaks(self) -> list[str]:
        """Sentences about how data may have leaked from one split into another, or has."""
        return [*self.settings.leaks, *remaining_leaks(self.outcome)]

    @property
    def test_leaks(self) -> bool:
        """Whether the figures may be too good: what the test split holds was seen before.

        A leak between the training and the validation split leaves the test split untouched.
        """
        return bool(self.settings.leaks) or touch_the_test(self.outcome)

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
        shortcuts = self.probes.shortcuts if self.probes else []
        return [*self.leaks, *accepted, *shortcuts, *cautions]


def _created(artifact: types.Artifact) -> str:
    """When an artifact was made, in UTC; now where the metadata does not say (a lone step)."""
    milliseconds = artifact.mlmd_artifact.create_time_since_epoch
    moment = (
        datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
        if milliseconds
        else datetime.datetime.now(datetime.UTC)
    )
    return moment.isoformat(timespec="seconds")


def gather_facts(inputs: Mapping[str, list[types.Artifact]], settings: RunSettings) -> RunFacts:
    """Read the facts from the artifacts of a run.

    Args:
      inputs: of a step, under the keys above.
      settings: of the run.

    Raises:
      OSError: a folder lacks a file that its step leaves.
      ConfigError: the evaluation is of another version of ctnet.
    """

    def folder(key: str) -> Path:
        return Path(artifact_utils.get_single_uri(inputs[key]))

    evaluation = artifact_utils.get_single_instance(inputs[EVALUATION])
    blessing = artifact_utils.get_single_instance(inputs[BLESSING])
    return RunFacts(
        settings=settings,
        evaluated=_created(evaluation),
        outcome=read_outcome(folder(QUARANTINE)),
        training=read_record(folder(MODEL_RUN)),
        evaluation=read_evaluation(folder(EVALUATION)),
        # The name as in tfx.components.evaluator, where it is a constant.
        blessed=blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY)
        == constants.BLESSED_VALUE,
        lineage=read_lineage(artifact_utils.get_single_instance(inputs[MODEL])),
        probes=read_probes(folder(PROBES)) if inputs.get(PROBES) else None,
        splits=read_split_facts(artifact_utils.get_single_instance(inputs[STATISTICS]))
        if inputs.get(STATISTICS)
        else {},
    )
