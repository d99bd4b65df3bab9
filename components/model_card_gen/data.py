"""What a model was trained and tested on."""

from __future__ import annotations

from components.model_card_gen.table import Table
from components.run_facts.facts import RunFacts
from components.run_facts.split_facts import AgeRange, SplitFacts
from components.run_facts.wording import count, listed, number, split_name
from transform import ct_example

_UNKNOWN = "unknown"
# More names than that would bury the other columns.
_SOURCES_NAMED = 4

COLUMNS = (
    "Split",
    "Positive",
    "Negative",
    "Patients",
    "Hounsfield units",
    "Sex",
    "Age",
    "Sources",
)


def _patients(facts: RunFacts, split: str, known: SplitFacts | None) -> str:
    if split == ct_example.TEST:
        return f"{facts.evaluation.overall.patients.count:,}"
    return f"{known.patients:,}" if known else _UNKNOWN


def _hounsfield(split: SplitFacts) -> str:
    parts = ((split.calibrated, "from the scanner"), (split.assumed, "assumed"))
    return ", ".join(f"{amount:,} {what}" for amount, what in parts if amount)


def _sexes(split: SplitFacts) -> str:
    unknown = split.slices - sum(split.sexes.values())
    parts = [*sorted(split.sexes.items()), (_UNKNOWN, unknown)]
    return ", ".join(f"{amount:,} {sex}" for sex, amount in parts if amount)


def _ages(ages: AgeRange | None, slices: int) -> str:
    if ages is None:
        return _UNKNOWN
    low, middle, high = (number(one, 0) for one in (ages.low, ages.median, ages.high))
    some = "" if ages.known == slices else f" ({ages.known:,} known)"
    return f"{low} to {high}, median {middle}{some}"


def _sources(split: SplitFacts) -> str:
    if not split.source_count:
        return _UNKNOWN
    if split.source_count > _SOURCES_NAMED:
        return f"{split.source_count:,}"
    return ", ".join(f"{name} ({amount:,})" for name, amount in split.sources.items())


def tabulate_splits(facts: RunFacts) -> Table:
    """Who is in which split; slices where the heading does not say otherwise."""
    rows = []
    for split, counts in facts.outcome.accepted.items():
        known = facts.splits.get(split)
        characteristics = (
            (_hounsfield(known), _sexes(known), _ages(known.ages, known.slices), _sources(known))
            if known
            else (_UNKNOWN,) * 4
        )
        row = (split_name(split).capitalize(), f"{counts['1']:,}", f"{counts['0']:,}")
        rows.append((*row, _patients(facts, split, known), *characteristics))
    return Table(COLUMNS, rows)


def _describe_quarantine(facts: RunFacts) -> str:
    reasons = [f"{amount:,} {reason}" for reason, amount in facts.outcome.quarantined.items()]
    left_out = count(facts.outcome.total_quarantined, "slice")
    return f"Left out: {left_out}" + (f" ({listed(reasons)})." if reasons else ".")


def _describe_test(facts: RunFacts) -> str:
    overall = facts.evaluation.overall
    tested = (
        f"The figures are of {count(overall.slices.count, 'slice')} of "
        f"{count(overall.patients.count, 'patient')}"
    )
    if facts.test_leaks:
        return f"{tested}, and too good: see the warnings."
    apart = (
        "No patient of the test split stands in another one, but training and validation are not "
        "apart: see the warnings."
        if facts.leaks
        else "No patient stands in two splits."
    )
    return f"{tested} in the test split, which neither training nor calibration has seen. {apart}"


def describe_data(facts: RunFacts) -> list[str]:
    """Counts and what was done with what is missing, a sentence each."""
    copied = facts.outcome.copied
    what = "copies" if copied else "slices"
    splits = [
        f"{split_name(split)}: {counts['1']:,} positive and {counts['0']:,} negative {what}"
        for split, counts in facts.outcome.accepted.items()
    ]
    sentences = [f"{'; '.join(splits)}.".capitalize()]
    if copied:
        sentences.append(
            f"These are augmented copies of {copied.get('1', 0):,} positive and "
            f"{copied.get('0', 0):,} negative slices."
        )
    sentences += [_describe_quarantine(facts), _describe_test(facts)]
    ids = facts.settings.config.get("ingest", {}).get("patient_ids")
    if ids is not None:
        sentences.append(
            "Patient ids are keyed hashes; of DICOM headers only technical elements and the "
            "patient id are read."
            if ids == "hash"
            else "Patient ids are as the manifest writes them."
        )
    return [
        *sentences,
        "Nothing is imputed: what a slice does not say of sex, age or source is unknown, and what "
        "cannot be read is left out.",
        "Labels are taken as the manifest gives them; ctnet does not know how they were made.",
    ]
