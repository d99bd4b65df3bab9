"""What a report is made of, read from the artifacts of a run (import `tfx.v1` before this)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from tfx import types
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.ct_example_gen.quarantine import QuarantinedSlice, read_quarantine
from components.report_gen.answered import collect
from components.report_gen.slice_choice import ChosenSlices, choose_slices
from components.report_gen.slice_pictures import SlicePictures, draw_slices
from components.report_gen.step_times import StepTime
from components.run_facts.facts import (
    EVALUATION,
    MODEL,
    MODEL_RUN,
    QUARANTINE,
    RunFacts,
    RunSettings,
    gather_facts,
)
from components.serving_validator import outcome as serving_outcome
from components.slice_evaluator.answers import Answers
from components.slice_evaluator.predictions import read_predictions
from transform.ct_example import TEST
from transform.training_record import PICTURES

# More would bury the reader; the quarantine itself has all of them.
QUARANTINED_SHOWN = 200

INFRA_BLESSING, PUSHED_MODEL, TEST_EXAMPLES = "infra_blessing", "pushed_model", "examples"
"""Keys of inputs that only the report needs; the first and the last are optional."""


@dataclasses.dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything that a report says.

    Attributes:
      facts: what the model card is made of, too.
      quarantined: the first slices in quarantine; `facts.outcome.quarantined` counts all of them.
      training_pictures: SVG files that training drew, by name; a run of an older release has none.
      answers: what the model said of the test split.
      chosen: the test slices that are shown.
      pictures: of these; None where the report was not given the slices.
      steps: how long each took; None where the platform knows it.
      serving: what came of asking it in a server; None where it was not tried.
      pushed: whether it is served now.
      version: as which version; None where it was not pushed.
      destination: where to; None where it was not pushed.
    """

    facts: RunFacts
    quarantined: list[QuarantinedSlice]
    training_pictures: dict[str, str]
    answers: Answers
    chosen: ChosenSlices
    pictures: SlicePictures | None
    steps: list[StepTime] | None
    serving: serving_outcome.ServingOutcome | None
    pushed: bool
    version: str | None
    destination: str | None


def _window(settings: RunSettings) -> tuple[float, float] | None:
    """Under which pictures without Hounsfield units were read."""
    window = settings.config.get("hounsfield", {}).get("window")
    return (window[0], window[1]) if window else None


def _draw(
    inputs: Mapping[str, list[types.Artifact]], chosen: ChosenSlices, settings: RunSettings
) -> SlicePictures | None:
    if not inputs.get(TEST_EXAMPLES):
        return None
    split = artifact_utils.get_split_uri(inputs[TEST_EXAMPLES], TEST)
    return draw_slices(
        [one.id for one in chosen],
        sorted(tf.io.gfile.glob(f"{split}/*")),
        path_utils.serving_model_path(artifact_utils.get_single_uri(inputs[MODEL])),
        _window(settings),
    )


def gather(
    inputs: Mapping[str, list[types.Artifact]],
    settings: RunSettings,
    steps: list[StepTime] | None,
) -> ReportContent:
    """Read a report's content from the artifacts of a run.

    The predictions are read twice and never held as a whole.

    Args:
      inputs: of ReportGen.
      settings: of the run.
      steps: how long each took; None where the platform knows it.

    Raises:
      OSError: a folder lacks a file that its step leaves.
      ConfigError: the evaluation is of another version of ctnet.
    """

    def folder(key: str) -> Path:
        return Path(artifact_utils.get_single_uri(inputs[key]))

    training = folder(MODEL_RUN)
    facts = gather_facts(inputs, settings)
    answers = collect(read_predictions(folder(EVALUATION)))
    chosen = choose_slices(read_predictions(folder(EVALUATION)), answers)
    # Names as in tfx.components.pusher.executor, where they are private.
    pushed = artifact_utils.get_single_instance(inputs[PUSHED_MODEL])
    return ReportContent(
        facts=facts,
        quarantined=list(itertools.islice(read_quarantine(folder(QUARANTINE)), QUARANTINED_SHOWN)),
        training_pictures={
            name: path.read_text(encoding="utf-8")
            for name in PICTURES
            if (path := training / f"{name}.svg").exists()
        },
        answers=answers,
        chosen=chosen,
        pictures=_draw(inputs, chosen, settings),
        steps=steps,
        serving=serving_outcome.read_outcome(folder(INFRA_BLESSING))
        if inputs.get(INFRA_BLESSING)
        else None,
        pushed=pushed.get_int_custom_property("pushed") == 1,
        version=pushed.get_string_custom_property("pushed_version") or None,
        destination=pushed.get_string_custom_property("pushed_destination") or None,
    )
