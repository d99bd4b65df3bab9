"""What a comparison of two models comes to, in one sentence."""

from __future__ import annotations

import math

from components.slice_evaluator.paired_comparison import PairedComparison
from components.slice_evaluator.patient_bootstrap import CONFIDENCE
from pipeline.compare import ModelComparison

_SIGNIFICANT = 1.0 - CONFIDENCE


def p_value(value: float) -> str:
    """A p value for people."""
    if math.isnan(value):
        return "undefined"
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def conclude(comparison: ModelComparison) -> str:
    """The sentence, which is about patients.

    An AUC is said to differ where the bootstrap's interval leaves zero out and DeLong's test says
    so, too: with few patients either alone is easily wrong. A figure that is undefined tells
    nothing.
    """
    if comparison.alike:
        return "A and B gave the same answer to every test slice."
    patients = comparison.patients
    auc, decisions = _about_auc(patients), _about_decisions(patients)
    chance = _that_chance_explains(patients)
    if auc is None and decisions is None:
        return f"No difference between A and B can be told from chance ({'; '.join(chance)})."
    if auc is None:
        return f"{decisions}; their AUCs cannot be told apart from chance ({chance[0]})."
    if decisions is None:
        return f"{auc}; their decisions cannot be told apart from chance ({chance[1]})."
    return f"{auc}; {decisions}."


def _about_auc(patients: PairedComparison) -> str | None:
    auc, test = patients.auc, patients.delong
    outside = auc.lower > 0.0 or auc.upper < 0.0
    if not (outside and test.p_value < _SIGNIFICANT):
        return None
    word = "higher" if auc.difference > 0.0 else "lower"
    ends = sorted((abs(auc.lower), abs(auc.upper)))
    return (
        f"B's AUC of patients is {word} by {abs(auc.difference):.3f} "
        f"(95 % interval {ends[0]:.3f} to {ends[1]:.3f})"
    )


def _about_decisions(patients: PairedComparison) -> str | None:
    test = patients.mcnemar
    if not test.p_value < _SIGNIFICANT:
        return None
    more = test.only_candidate_right > test.only_baseline_right
    return (
        f"B decides {'more' if more else 'fewer'} patients rightly ("
        f"{test.only_candidate_right} that A does not, against {test.only_baseline_right}; "
        f"McNemar's p {p_value(test.p_value)})"
    )


def _that_chance_explains(patients: PairedComparison) -> tuple[str, str]:
    auc = patients.auc
    if math.isnan(auc.difference):
        of_auc = "AUC of patients undefined"
    elif math.isnan(auc.lower):
        of_auc = f"AUC of patients {auc.difference:+.3f}, without an interval"
    else:
        of_auc = (
            f"AUC of patients {auc.difference:+.3f}, "
            f"95 % interval {auc.lower:+.3f} to {auc.upper:+.3f}"
        )
    return (
        f"{of_auc}, DeLong's p {p_value(patients.delong.p_value)}",
        f"McNemar's p {p_value(patients.mcnemar.p_value)}",
    )
