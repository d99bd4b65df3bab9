"""How a model stands to the last blessed one, on the same test slices."""

from __future__ import annotations

from components.model_card_gen.table import Table
from components.run_facts.facts import RunFacts
from components.run_facts.wording import FIGURE_NAMES, number, p_value, with_interval
from components.slice_evaluator.figures import AUC, SENSITIVITY, SPECIFICITY
from components.slice_evaluator.measured import Figure
from components.slice_evaluator.paired_comparison import Difference, PairedComparison


def _rows(unit: str, compared: PairedComparison) -> list[tuple[str, ...]]:
    found: tuple[tuple[str, Difference], ...] = (
        (SENSITIVITY, compared.sensitivity),
        (SPECIFICITY, compared.specificity),
        (AUC, compared.auc),
    )
    return [
        (
            f"{FIGURE_NAMES[name]} of {unit}",
            number(one.baseline),
            number(one.candidate),
            with_interval(Figure(one.difference, one.lower, one.upper)),
        )
        for name, one in found
    ]


def tabulate_comparison(facts: RunFacts) -> Table | None:
    """Both models' figures and their differences; None where there was nothing to compare with."""
    compared = facts.evaluation.overall.comparison
    if compared is None:
        return None
    return Table(
        ("Figure", "Last blessed model", "This model", "Difference (95 % interval)"),
        [*_rows("slices", compared.slices), *_rows("patients", compared.patients)],
    )


def describe_comparison(facts: RunFacts) -> list[str]:
    """The tests of the difference, a sentence each."""
    compared = facts.evaluation.overall.comparison
    if compared is None:
        return ["There was no earlier blessed model to compare with."]
    patients, mcnemar = compared.patients, compared.patients.mcnemar
    return [
        "Both models were asked about the same test slices, each at its own threshold. Whether the "
        "earlier one had seen some of them in training, this comparison does not know.",
        f"Of patients, DeLong's test of the AUCs has a p value of "
        f"{p_value(patients.delong.p_value)}; "
        f"{mcnemar.only_candidate_right:,} are decided rightly by this model alone and "
        f"{mcnemar.only_baseline_right:,} by the earlier one alone (McNemar's exact test, p value "
        f"{p_value(mcnemar.p_value)}).",
    ]
