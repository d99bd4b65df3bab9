"""What a comparison of two models comes to, in one sentence."""

from __future__ import annotations

import dataclasses
import math

from components.run_facts.numbers import has_spread, p_value
from components.slice_evaluator.paired_comparison import PairedComparison
from components.slice_evaluator.patient_bootstrap import CONFIDENCE
from pipeline.comparison.compare import ModelComparison

_SIGNIFICANT = 1.0 - CONFIDENCE


@dataclasses.dataclass(frozen=True)
class _Finding:
    """What is said of the AUCs, or of the decisions.

    Attributes:
      says: the words.
      chance: whether a test says that chance can have done it, and `says` is only its figures.
    """

    says: str
    chance: bool = False


def conclude(comparison: ModelComparison) -> str:
    """The sentence, which is about patients.

    An AUC is said to differ where the bootstrap's interval leaves zero out and DeLong's test says
    so, too: with few patients either alone is easily wrong. Of chance it speaks only where there is
    a p value. A difference of which test or interval can say nothing is given with that caution.
    """
    if comparison.alike:
        return "A and B gave the same answer to every test slice."
    auc, decisions = _about_auc(comparison.patients), _about_decisions(comparison.patients)
    if auc.chance and decisions.chance:
        return (
            f"No difference between A and B can be told from chance ({auc.says}; {decisions.says})."
        )
    if auc.chance:
        return f"{decisions.says}; their AUCs cannot be told apart from chance ({auc.says})."
    if decisions.chance:
        return f"{auc.says}; their decisions cannot be told apart from chance ({decisions.says})."
    return f"{auc.says}; {decisions.says}."


def _about_auc(patients: PairedComparison) -> _Finding:
    auc, test = patients.auc, patients.delong
    if math.isnan(auc.difference):
        return _Finding("The AUCs of patients of A and B are not both defined")
    spread = has_spread(auc.lower, auc.upper)
    significant = test.p_value < _SIGNIFICANT
    if significant and spread and (auc.lower > 0.0 or auc.upper < 0.0):
        return _Finding(f"{_which_is_higher(auc.difference)} ({_ends(patients)})")
    # Resamples without spread leave zero out, and mean nothing.
    if math.isnan(test.p_value) or (significant and not spread):
        return _Finding(f"{_which_is_higher(auc.difference)}; {_why_unsure(patients)}")
    if math.isnan(auc.lower):
        interval = "without an interval"
    elif not spread:
        interval = "no spread in the resamples"
    else:
        interval = f"95 % interval {auc.lower:+.3f} to {auc.upper:+.3f}"
    return _Finding(
        f"AUC of patients {auc.difference:+.3f}, {interval}, DeLong's p {p_value(test.p_value)}",
        chance=True,
    )


def _which_is_higher(difference: float) -> str:
    if difference == 0.0:
        return "A and B have the same AUC of patients"
    word = "higher" if difference > 0.0 else "lower"
    return f"B's AUC of patients is {word} by {abs(difference):.3f}"


def _ends(patients: PairedComparison) -> str:
    """The interval of a difference whose direction was said."""
    lower, upper = patients.auc.lower, patients.auc.upper
    if patients.auc.difference < 0.0:
        lower, upper = -upper, -lower
    return f"95 % interval {lower:.3f} to {upper:.3f}"


def _why_unsure(patients: PairedComparison) -> str:
    auc, p = patients.auc, patients.delong.p_value
    if has_spread(auc.lower, auc.upper):
        return f"DeLong's test does not say how sure that is ({_ends(patients)})"
    if math.isnan(p):
        return "neither test nor interval says how sure that is"
    return f"no interval says how sure that is (DeLong's p {p_value(p)})"


def _about_decisions(patients: PairedComparison) -> _Finding:
    test = patients.mcnemar
    if not test.p_value < _SIGNIFICANT:
        return _Finding(f"McNemar's p {p_value(test.p_value)}", chance=True)
    more = test.only_candidate_right > test.only_baseline_right
    return _Finding(
        f"B decides {'more' if more else 'fewer'} patients rightly ("
        f"{test.only_candidate_right} that A does not, against {test.only_baseline_right}; "
        f"McNemar's p {p_value(test.p_value)})"
    )
