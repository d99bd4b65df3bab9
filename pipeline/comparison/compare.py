"""Two models on the same test slices: what tells them apart, and whether that can be chance."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from components.slice_evaluator.answers import (
    Answers,
    IdentifiedAnswers,
    by_patient,
    paired_answers,
)
from components.slice_evaluator.paired_comparison import PairedComparison, compare
from components.slice_evaluator.predictions import PREFIX, read_predictions
from pipeline.comparison.choice import ChosenModel, choose
from pipeline.history.index import read_run_index
from transform.errors import BadDataError, ConfigError


@dataclasses.dataclass(frozen=True)
class ModelComparison:
    """Two models on the same test slices; all differences are B - A.

    Attributes:
      a: the baseline.
      b: the candidate.
      thresholds: the operating points of A and of B.
      resamples: of the patients, from which the intervals are.
      seed: of the resamples.
      patients: patient by patient; the tests' p values are to be believed here.
      slices: slice by slice; those of one patient are no independent witnesses.
      alike: whether both gave the same answer to every slice.
    """

    a: ChosenModel
    b: ChosenModel
    thresholds: tuple[float, float]
    resamples: int
    seed: int
    patients: PairedComparison
    slices: PairedComparison
    alike: bool

    def as_json(self) -> dict[str, Any]:
        """The comparison as values of JSON; null where a number is undefined."""
        values: dict[str, Any] = json.loads(
            json.dumps(dataclasses.asdict(self)), parse_constant=lambda _: None
        )
        return values


def compare_models(a: str, b: str, resamples: int, seed: int) -> ModelComparison:
    """Compare two models.

    Args:
      a: the baseline (see `choice.choose`).
      b: the candidate, likewise.
      resamples: of the patients.
      seed: of the resamples.

    Raises:
      ConfigError: one of them is not there, or they were not asked about the same test slices.
    """
    # Two runs of one folder need its metadata only once.
    index_of = functools.cache(read_run_index)
    chosen = choose(a, index_of), choose(b, index_of)
    try:
        answers = paired_answers(*map(_answers, chosen))
    except BadDataError as error:
        raise ConfigError(f"{error}") from None
    patients = by_patient(answers[0]), by_patient(answers[1])
    return ModelComparison(
        a=chosen[0],
        b=chosen[1],
        thresholds=(answers[0].threshold, answers[1].threshold),
        resamples=resamples,
        seed=seed,
        patients=compare(*patients, resamples, seed),
        slices=compare(*answers, resamples, seed),
        alike=_alike(*answers),
    )


def _alike(one: Answers, other: Answers) -> bool:
    same = np.array_equal(one.probability, other.probability, equal_nan=True)
    return same and np.array_equal(one.decision, other.decision)


def _answers(model: ChosenModel) -> IdentifiedAnswers:
    """A model's answers."""
    try:
        answers = IdentifiedAnswers.of(read_predictions(Path(model.evaluation)))
    except (OSError, ValueError, TypeError, OverflowError) as error:
        line = " ".join(f"{error}".split())
        raise ConfigError(
            f"{model.evaluation}: {PREFIX}-*.jsonl cannot be read ({line}); start the run again"
        ) from None
    if not len(answers) or answers.repeated:
        what = f"{answers.repeated} slices twice" if len(answers) else "no answers"
        raise ConfigError(
            f"{model.evaluation}: {what} in {PREFIX}-*.jsonl; start the run again, or give "
            "another evaluation"
        )
    return answers
