"""Where a model's figures stop saying anything."""

from __future__ import annotations

from collections.abc import Iterator

from components.model_card_gen.licences import from_publications
from components.model_card_gen.performance import known_groups
from components.run_facts.facts import RunFacts
from components.run_facts.wording import AGE_BANDS, GROUPING_NAMES, count, listed, number
from components.slice_evaluator.groups import (
    AGE,
    ASSUMED,
    CALIBRATED,
    FEMALE,
    FROM_80,
    HOUNSFIELD,
    MALE,
    SEX,
    SMALL_GROUP,
    UNDER_40,
)

_EXPECTED = {SEX: (FEMALE, MALE), AGE: AGE_BANDS}
# What a group's name does not say by itself.
_NAMES = {FEMALE: "women", MALE: "men", UNDER_40: "younger than 40", FROM_80: "80 or older"}


def _window(facts: RunFacts) -> str:
    window = facts.settings.config.get("hounsfield", {}).get("window")
    if not window:
        return "an assumed window"
    low, high = (number(edge, 0) for edge in window)
    return f"an assumed window ({low} HU for black, {high} HU for white)"


def _describe_pictures(facts: RunFacts) -> Iterator[str]:
    yield (
        "8-bit pictures (PNG, JPEG) have lost their Hounsfield units and are read under "
        f"{_window(facts)}; one exported under another window looks denser or less dense than "
        "the lung was."
    )
    tested = known_groups(facts, HOUNSFIELD)
    if tested and CALIBRATED not in tested:
        yield "Every test slice is such a picture: on true Hounsfield units it was not tested."
    elif tested and ASSUMED not in tested:
        yield "No test slice is such a picture: on pictures it was not tested."
    if from_publications(facts):
        yield (
            "Slices from publications were chosen to show something: findings are plainer, and "
            "controls more unlike them, than in a reading room."
        )


def _describe_people(facts: RunFacts) -> Iterator[str]:
    patients = facts.evaluation.overall.patients.count
    if patients < SMALL_GROUP:
        counted = count(patients, "patient")
        yield f"The test split has {counted} only: its figures say almost nothing."
    for grouping, expected in _EXPECTED.items():
        known, name = known_groups(facts, grouping), GROUPING_NAMES[grouping].lower()
        if not known:
            yield (
                f"Nobody knows how it does by {name}: the test split does not say it of any slice."
            )
            continue
        for group in expected:
            if group not in known:
                yield f"No test patient is known to be of the group {_NAMES.get(group, group)}."
        small = [_NAMES.get(group, group) for group, part in known.items() if part.small]
        if small:
            yield f"Too few test patients to say anything by {name}: {listed(small)}."


def describe_limits(facts: RunFacts) -> list[str]:
    """What the model and its figures cannot tell, a sentence each."""
    return [
        *_describe_pictures(facts),
        *_describe_people(facts),
        "Scanners, protocols, ages and diseases that the data lacks were not tested, and other "
        "pneumonias can look like COVID-19.",
        "Training and test slices were handed over together, in one manifest or several: on slices "
        "from elsewhere the figures may be worse.",
        "Slices of one patient resemble each other: there is less to learn from the test split "
        "than its number of slices suggests. The intervals, which are over patients, know that.",
        "It answers for any picture, however bad; a slice that cannot be decoded is refused.",
        "Nobody has shown that reading with the model is better for patients.",
    ]
