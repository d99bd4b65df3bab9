"""Two models on the same test slices: what tells them apart, and whether that can be chance."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from components.slice_evaluator.answers import Answers, by_patient, paired_answers
from components.slice_evaluator.paired_comparison import PairedComparison, compare
from components.slice_evaluator.predictions import PREFIX, SlicePrediction, read_predictions
from pipeline.compare_choice import ChosenModel, choose
from transform.errors import ConfigError


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
      a: the baseline (see `compare_choice.choose`).
      b: the candidate, likewise.
      resamples: of the patients.
      seed: of the resamples.

    Raises:
      ConfigError: one of them is not there, or they were not asked about the same test slices.
    """
    chosen = choose(a), choose(b)
    answers = _paired(*chosen)
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


def _predictions(model: ChosenModel) -> dict[str, SlicePrediction]:
    """A model's answers by slice."""
    try:
        rows = list(read_predictions(Path(model.evaluation)))
    except (OSError, ValueError, TypeError) as error:
        line = " ".join(f"{error}".split())
        raise ConfigError(
            f"{model.evaluation}: {PREFIX}-*.jsonl cannot be read ({line}); start the run again"
        ) from None
    by_slice = {row.id: row for row in rows}
    if not rows or len(by_slice) < len(rows):
        what = "no answers" if not rows else f"{len(rows) - len(by_slice)} slices twice"
        raise ConfigError(
            f"{model.evaluation}: {what} in {PREFIX}-*.jsonl; start the run again, or give "
            "another evaluation"
        )
    return by_slice


def _paired(a: ChosenModel, b: ChosenModel) -> tuple[Answers, Answers]:
    of_a, of_b = _predictions(a), _predictions(b)
    _check_same_slices(of_a, of_b)
    try:
        return paired_answers(of_a.values(), _with_patients_of(of_a, of_b.values()))
    except ValueError as error:
        raise ConfigError(f"{a.said} and {b.said} cannot be compared: {error}") from None


def _check_same_slices(a: dict[str, SlicePrediction], b: dict[str, SlicePrediction]) -> None:
    common = a.keys() & b.keys()
    relabelled = sum(a[one].label != b[one].label for one in common)
    alone = len(a) - len(common), len(b) - len(common)
    if relabelled or any(alone):
        labels = f", and {relabelled} have another label" if relabelled else ""
        raise ConfigError(
            f"A and B were not asked about the same test slices: {len(common) - relabelled} are "
            f"shared, {alone[0]} are of A alone, {alone[1]} of B alone{labels}; a test slice of "
            "one may have trained the other, so evaluate both on one test split"
        )


def _with_patients_of(
    a: dict[str, SlicePrediction], b: Iterable[SlicePrediction]
) -> list[SlicePrediction]:
    """B's answers with the patients' ids of A.

    Ids are hashes under a key that each run's folder has of its own; what counts is which slices
    are of one patient.

    Raises:
      ConfigError: A and B do not agree on that.
    """
    named: list[SlicePrediction] = []
    pairs = set()
    for row in b:
        patient = a[row.id].patient_id
        pairs.add((patient, row.patient_id))
        named.append(dataclasses.replace(row, patient_id=patient))
    both = [len({pair[side] for pair in pairs}) for side in (0, 1)]
    if both != [len(pairs)] * 2:
        raise ConfigError(
            f"A and B do not agree on whose the test slices are ({both[0]} and {both[1]} patients, "
            f"{len(pairs)} pairs of them); evaluate both on one manifest"
        )
    return named
