"""The study's tables, in Markdown: of all rows on validation, and of one on the test split."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.recipe.answers import ValidationAnswers, ask_of_test
from benchmarks.recipe.study import Study
from benchmarks.recipe.training import SECONDS

_COLUMNS = {
    "AUC": 3,
    "AUC, slices as they are": 3,
    "loss": 3,
    "ECE before": 3,
    "ECE after": 3,
    "minutes": 1,
}
"""Figures with their decimals."""


def _validation_figures(study: Study, row: str, seed: int) -> dict[str, float]:
    """What one training says of the validation split, at the end of its last epoch."""
    from sklearn.metrics import roc_auc_score

    from transform.training_record import read_record

    folder = study.training(row, seed)
    record = read_record(folder / "run")
    answers = ValidationAnswers.read(folder)
    assert record.negative_log_likelihood
    assert record.calibration_error
    figures = {
        "AUC": float(roc_auc_score(answers.labels, answers.averaged)),
        "AUC, slices as they are": float(roc_auc_score(answers.labels, answers.plain)),
        "loss": record.negative_log_likelihood[1],
        "ECE before": record.calibration_error[0],
        "ECE after": record.calibration_error[1],
    }
    if record.resumed_from is None:
        # Of one that was taken up again only the last part is known.
        figures["minutes"] = json.loads((folder / SECONDS).read_text()) / 60
    return figures


def _spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation, as the tables have them."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _print_row(name: str, cells: Sequence[str]) -> None:
    print(f"| {name} | {' | '.join(cells)} |")


def _print_head(name: str, columns: Sequence[str]) -> None:
    _print_row(name, columns)
    print("|---" * (len(columns) + 1) + "|")


def print_validation(study: Study, rows: Sequence[str], seeds: Sequence[int]) -> None:
    """Mean and standard deviation over the seeds, a line a row."""
    _print_head(f"{study.image_size} pixels, {study.epochs} epochs", list(_COLUMNS))
    for row in rows:
        found = [_validation_figures(study, row, seed) for seed in seeds]
        cells = [
            _spread([one[name] for one in found if name in one], digits)
            for name, digits in _COLUMNS.items()
        ]
        _print_row(row, cells)


def _thresholds(study: Study, row: str, seed: int) -> dict[str, float]:
    """Operating points that are chosen on the validation split, as the Trainer chooses them."""
    from trainer.calibration import fit_temperature, probabilities
    from trainer.operating_point import choose_operating_point

    answers = ValidationAnswers.read(study.training(row, seed))
    gate = study.config(row, seed).gate
    temperature = fit_temperature(answers.averaged, answers.labels)
    probability = probabilities(answers.averaged, temperature)

    def chosen(rule: str) -> float:
        return choose_operating_point(
            probability,
            answers.labels,
            answers.patients,
            rule=rule,
            target_sensitivity=gate.target_sensitivity,
            resamples=gate.resamples,
            seed=seed,
        ).threshold

    target = f"sensitivity {gate.target_sensitivity:g}"
    return {"Youden": chosen("youden"), target: chosen("sensitivity"), "0.5": 0.5}


def _test_figures(
    probability: np.ndarray, labels: np.ndarray, threshold: float
) -> Mapping[str, float]:
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    decided = probability >= threshold
    return {
        "accuracy": accuracy_score(labels, decided),
        "F1": f1_score(labels, decided),
        "sensitivity": recall_score(labels, decided),
        "specificity": recall_score(labels, decided, pos_label=0),
    }


def print_test(study: Study, row: str, seeds: Sequence[int]) -> None:
    """The test split, a line a seed and operating point, and their spread; read here alone."""
    from sklearn.metrics import roc_auc_score

    asked = [ask_of_test(study, row, seed) for seed in seeds]
    labels = asked[0][1]
    areas = [float(roc_auc_score(labels, probability)) for probability, _ in asked]
    cells = [*(f"{area:.3f}" for area in areas), _spread(areas, 3)]
    _print_head("test split", [*(f"seed {seed}" for seed in seeds), "mean ± sd"])
    _print_row("AUC", cells)
    chosen = [_thresholds(study, row, seed) for seed in seeds]
    for rule in chosen[0]:
        found = [
            _test_figures(probability, labels, thresholds[rule])
            for (probability, _), thresholds in zip(asked, chosen, strict=True)
        ]
        for name in found[0]:
            values = [one[name] for one in found]
            cells = [*(f"{value:.3f}" for value in values), _spread(values, 3)]
            _print_row(f"{name}, threshold {rule}", cells)
    together = np.mean([probability for probability, _ in asked], axis=0)
    print(f"\nAUC of the mean of the {len(seeds)}: {roc_auc_score(labels, together):.3f}")
