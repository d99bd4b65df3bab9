"""Reading what `PatientFigures` put out from the files that TFMA wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow_model_analysis as tfma

from components.slice_evaluator import paired_names
from components.slice_evaluator.extractors import GROUP_FEATURE
from components.slice_evaluator.figure_names import LOWER, PATIENTS, SLICES, UPPER, name_of
from components.slice_evaluator.figures import COUNTS, FIGURES
from components.slice_evaluator.groups import GROUPINGS, is_small
from components.slice_evaluator.measured import Comparison, Figure, Part, UnitFigures
from components.slice_evaluator.model_names import BASELINE, CANDIDATE
from components.slice_evaluator.patient_figures import PATIENTS_OF_BOTH_LABELS
from transform import prediction
from transform.errors import BadDataError


def _numbers(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """The numbers that TFMA keeps by output, sub-key and name, by name alone."""
    return {
        name: float(value["doubleValue"])
        for by_sub_key in metrics.values()
        for values in by_sub_key.values()
        for name, value in values.items()
        if "doubleValue" in value
    }


def _unit(numbers: Mapping[str, float], unit: str) -> UnitFigures:
    return UnitFigures(
        count=int(numbers[unit]),
        confusion={name: int(numbers[name_of(name, unit)]) for name in COUNTS},
        figures={
            name: Figure(*(numbers[name_of(name, unit) + suffix] for suffix in ("", LOWER, UPPER)))
            for name in FIGURES
        },
    )


def _comparison(numbers: Mapping[str, float]) -> Comparison | None:
    if not paired_names.is_there(numbers):
        return None
    prefix = name_of("", PATIENTS)
    of_patients = {
        name.removeprefix(prefix): value
        for name, value in numbers.items()
        if name.startswith(prefix)
    }
    return Comparison(paired_names.unflatten(numbers), paired_names.unflatten(of_patients))


def _part(numbers: Mapping[str, float]) -> Part:
    return Part(
        small=is_small(int(numbers[PATIENTS])),
        slices=_unit(numbers, SLICES),
        patients=_unit(numbers, PATIENTS),
        patients_of_both_labels=int(numbers[PATIENTS_OF_BOTH_LABELS]),
        comparison=_comparison(numbers),
    )


def read_parts(evaluation: str) -> tuple[float, Part, dict[str, dict[str, Part]]]:
    """What was measured.

    Args:
      evaluation: the artifact's folder.

    Returns:
      The candidate's operating point, the whole test split, and its parts by grouping and group,
      groups in the order of their names.

    Raises:
      BadDataError: there was no slice to evaluate.
    """
    # TFMA leaves the name of a lone model out.
    result = tfma.load_eval_result(evaluation)
    if BASELINE in [spec.name for spec in result.config.model_specs]:
        result = tfma.load_eval_result(evaluation, model_name=CANDIDATE)
    by_key = {key: _numbers(metrics) for key, metrics in result.slicing_metrics}
    if () not in by_key:
        raise BadDataError("the test split has no slice: there is nothing to evaluate")
    overall = by_key.pop(())
    groups: dict[str, dict[str, Part]] = {grouping: {} for grouping in GROUPINGS}
    for key, numbers in sorted(by_key.items()):
        ((feature, group),) = key
        groups[feature.removeprefix(GROUP_FEATURE)][group] = _part(numbers)
    return overall[prediction.THRESHOLD], _part(overall), groups
