"""How well a model does on the test split, over all and by group, and what the gate says of it."""

from __future__ import annotations

from components.model_card_gen.table import Table
from components.run_facts.bound_words import in_words
from components.run_facts.facts import RunFacts
from components.run_facts.wording import (
    AGE_BANDS,
    FEW_PATIENTS_NOTE,
    FIGURE_NAMES,
    GROUPING_NAMES,
    count,
    listed,
    number,
    with_interval,
)
from components.slice_evaluator.figures import (
    AUC,
    FIGURES,
    FN,
    FP,
    SENSITIVITY,
    SPECIFICITY,
    TN,
    TP,
)
from components.slice_evaluator.groups import SMALL_GROUP, UNKNOWN
from components.slice_evaluator.leak_alarm import MOST_PATIENTS_BY_CHANCE
from components.slice_evaluator.measured import Part, UnitFigures

# The largest ones; the record of the evaluation has all.
_GROUPS_SHOWN = 8

_CONFUSION = {
    TP: "true positive",
    FN: "false negative",
    FP: "false positive",
    TN: "true negative",
}


def tabulate_bounds(facts: RunFacts) -> Table:
    """Every bound of the gate and how the model stands to it."""
    bounds = [in_words(bound) for bound in facts.gate.bounds]
    rows = [(one.name, one.value, one.must_be, "yes" if one.passed else "no") for one in bounds]
    return Table(("Bound on", "Value", "Must be", "Holds"), rows)


def describe_gate(facts: RunFacts) -> list[str]:
    """What the leak alarm says, a sentence."""
    alarm = facts.evaluation.leak_alarm
    if alarm.above is None:
        return ["No alarm watched for results that are too good to be true: it was turned off."]
    watched = (
        f"An accuracy above {number(alarm.above)} on more than {MOST_PATIENTS_BY_CHANCE} test "
        "patients raises an alarm: such a result is more often a leak than a good model."
    )
    if alarm.suspicious:
        said = "It went off, and was accepted." if alarm.accepted else "It went off."
    elif alarm.patients > MOST_PATIENTS_BY_CHANCE:
        said = "It did not go off."
    else:
        said = "There were too few patients for it."
    return [f"{watched} {said}"]


def tabulate_performance(facts: RunFacts) -> Table:
    """All figures of the test split with their intervals, of slices and of patients."""
    overall = facts.evaluation.overall
    units = (overall.slices, overall.patients)
    rows = [
        (FIGURE_NAMES[name], *(with_interval(unit.figures[name]) for unit in units))
        for name in FIGURES
        if all(name in unit.figures for unit in units)
    ]
    counted = ("Number", *(f"{unit.count:,}" for unit in units))
    return Table(("Figure (95 % interval)", "Slices", "Patients"), [counted, *rows])


def _positive_share(unit: UnitFigures) -> str:
    positive = unit.confusion[TP] + unit.confusion[FN]
    return f"{100.0 * positive / unit.count:.0f} %" if unit.count else "none"


def _describe_confusion(what: str, unit: UnitFigures) -> str:
    counts = [count(unit.confusion[name], noun) for name, noun in _CONFUSION.items()]
    return f"{what}: {listed(counts)}."


def describe_performance(facts: RunFacts) -> list[str]:
    """What the figures are of and how to read them, a sentence each."""
    evaluation, overall = facts.evaluation, facts.evaluation.overall
    sentences = [
        "The exported model was asked about every test slice. Intervals are "
        f"{100.0 * evaluation.confidence:.0f} %, from {count(evaluation.resamples, 'resample')} of "
        f"the patients. {FEW_PATIENTS_NOTE}",
        "A patient's probability is the mean of their slices' and is decided at the slices' "
        "threshold.",
        _describe_confusion("Slices", overall.slices),
        _describe_confusion("Patients", overall.patients),
    ]
    if overall.patients_of_both_labels:
        sentences.append(
            f"{count(overall.patients_of_both_labels, 'patient')} with slices of both labels "
            "counted as positive."
        )
    return [
        *sentences,
        f"{_positive_share(overall.slices)} of the test slices and "
        f"{_positive_share(overall.patients)} of the test patients are positive. The predictive "
        "values hold for that mixture only: where COVID-19 is rarer, fewer positive answers are "
        "right.",
    ]


def known_groups(facts: RunFacts, grouping: str) -> dict[str, Part]:
    """The groups of a grouping, but for those of whom it is unknown."""
    parts = facts.evaluation.groups.get(grouping, {})
    return {group: part for group, part in parts.items() if group != UNKNOWN}


def _place(group: str) -> int:
    """Of a band of age among the others; what is no band comes after them."""
    return AGE_BANDS.index(group) if group in AGE_BANDS else len(AGE_BANDS)


def _shown_groups(parts: dict[str, Part]) -> dict[str, Part]:
    """The largest groups, the largest first, but for bands of age, the youngest first."""
    largest = sorted(parts, key=lambda group: (-parts[group].patients.count, group))
    shown = sorted(largest[:_GROUPS_SHOWN], key=_place)
    return {group: parts[group] for group in shown}


def tabulate_groups(facts: RunFacts) -> Table:
    """The figures of the largest groups of each grouping, of slices; small groups are marked.

    A grouping that is unknown for every slice has no row.
    """
    rows = []
    for grouping, parts in facts.evaluation.groups.items():
        if not known_groups(facts, grouping):
            continue
        for group, part in _shown_groups(parts).items():
            mark = " (small)" if part.small else ""
            figures = part.slices.figures
            rows.append(
                (
                    f"{GROUPING_NAMES.get(grouping, grouping)}: {group}{mark}",
                    f"{part.patients.count:,}",
                    f"{part.slices.count:,}",
                    *(with_interval(figures[name]) for name in (SENSITIVITY, SPECIFICITY, AUC)),
                )
            )
    return Table(("Group", "Patients", "Slices", "Sensitivity", "Specificity", "AUC"), rows)


def describe_groups(facts: RunFacts) -> list[str]:
    """How to read the groups, and which are not shown, a sentence each."""
    sentences = []
    shown = [grouping for grouping in facts.evaluation.groups if known_groups(facts, grouping)]
    if shown:
        sentences.append(
            f"Groups of fewer than {SMALL_GROUP} patients are small: their figures say almost "
            "nothing. A figure is undefined where the group lacks a class."
        )
    for grouping, parts in facts.evaluation.groups.items():
        name = GROUPING_NAMES.get(grouping, grouping)
        left_out = parts.keys() - _shown_groups(parts).keys()
        if not known_groups(facts, grouping):
            sentences.append(f"{name}: unknown for every test slice.")
        elif left_out:
            most = max(parts[group].patients.count for group in left_out)
            sentences.append(
                f"{name}: {count(len(left_out), 'further group')}, of "
                f"{count(most, 'patient')} at most, in the record of the evaluation."
            )
    if not facts.evaluation.groups:
        sentences.append("No groups were evaluated.")
    return sentences
