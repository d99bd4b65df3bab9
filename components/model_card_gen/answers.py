"""How far a run answers what a reporting checklist asks."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable

from components.model_card_gen import sections
from components.model_card_gen.performance import known_groups
from components.run_facts.facts import RunFacts
from components.run_facts.split_facts import SplitFacts
from components.slice_evaluator.groups import AGE, GROUPINGS, SEX, SOURCE
from transform import ct_example

REPORT = "the report"
"""The page beside the card, which has more than fits here."""


class Status(enum.StrEnum):
    """Who answers an item."""

    ANSWERED = "answered"
    PARTLY = "partly"
    USER = "only you can"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What there is to say of an item.

    Attributes:
      status: how far it is answered.
      where: the section of the card, or `REPORT`; empty where only the user can answer.
      write: what the user has to add; empty where it is answered.
    """

    status: Status
    where: str = ""
    write: str = ""


Rule = Callable[[RunFacts], Answer]
"""What a run answers to one item."""


def answered(where: str) -> Rule:
    """Every run answers it."""
    return lambda _: Answer(Status.ANSWERED, where)


def partly(where: str, write: str) -> Rule:
    """Every run answers a part of it."""
    return lambda _: Answer(Status.PARTLY, where, write)


def user(write: str) -> Rule:
    """No run answers it."""
    return lambda _: Answer(Status.USER, write=write)


def _has(facts: RunFacts, section: str) -> bool:
    return bool(facts.settings.config.get(section))


def data_sources(facts: RunFacts) -> Answer:
    """Where slices come from."""
    write = "the hospitals, registries or data sets, with years and a reference"
    named = known_groups(facts, SOURCE) or any(one.source_count for one in facts.splits.values())
    return (
        Answer(Status.PARTLY, sections.DATA, write) if named else Answer(Status.USER, write=write)
    )


def deidentification(facts: RunFacts) -> Answer:
    """What became of identities."""
    write = "how the data was de-identified before it came here, and names burnt into pixels"
    hashed = facts.settings.config.get("ingest", {}).get("patient_ids") == "hash"
    return (
        Answer(Status.PARTLY, sections.DATA, write) if hashed else Answer(Status.USER, write=write)
    )


def preprocessing(facts: RunFacts) -> Answer:
    """What happens to pixels before the network."""
    if _has(facts, "transform"):
        return Answer(Status.ANSWERED, sections.MODEL)
    return Answer(Status.USER, write="how pixels become the network's input")


def assignment(facts: RunFacts) -> Answer:
    """How slices were given to splits."""
    if facts.settings.config.get("split", {}).get("ignore_manifest"):
        return Answer(Status.ANSWERED, REPORT)
    write = "how the manifest's split was drawn; where it had none, ctnet drew it by patient"
    return Answer(Status.PARTLY, REPORT, write)


def disjointness(facts: RunFacts) -> Answer:
    """Whether a patient stands in one split only."""
    if facts.leaks:
        write = "why splits share patients or pictures (see the warnings), and what that does"
        return Answer(Status.PARTLY, sections.DATA, write)
    return Answer(Status.ANSWERED, sections.DATA)


def model_description(facts: RunFacts) -> Answer:
    """What the network is."""
    if _has(facts, "model"):
        return Answer(Status.ANSWERED, sections.MODEL)
    return Answer(Status.USER, write="the network, its input and its output")


def libraries(facts: RunFacts) -> Answer:
    """With which software it was made."""
    if facts.training.versions:
        return Answer(Status.ANSWERED, sections.LINEAGE)
    return Answer(Status.USER, write="the versions of the software")


def initialization(facts: RunFacts) -> Answer:
    """With which weights training began."""
    if facts.lineage.parent or facts.lineage.weights:
        return Answer(Status.ANSWERED, sections.LINEAGE)
    return Answer(Status.USER, write="the weights that training began with")


def training_approach(facts: RunFacts) -> Answer:
    """How the network was fitted."""
    where = f"{sections.MODEL}; {REPORT}"
    if _has(facts, "train"):
        return Answer(Status.ANSWERED, where)
    return Answer(Status.PARTLY, where, "the settings of the training")


def class_imbalance(facts: RunFacts) -> Answer:
    """What was done about classes of different size."""
    if "class_weights" in facts.settings.config.get("train", {}):
        return Answer(Status.ANSWERED, sections.MODEL)
    return Answer(Status.USER, write="whether classes of different size were weighed or drawn")


def ensembling(facts: RunFacts) -> Answer:
    """Whether several answers are averaged."""
    if "flip_average" in facts.settings.config.get("model", {}):
        return Answer(Status.ANSWERED, sections.MODEL)
    return Answer(Status.USER, write="whether several answers are averaged")


def robustness(facts: RunFacts) -> Answer:
    """Whether it was asked how the figures change with the conditions."""
    write = "other scanners, protocols, doses and thresholds"
    grouped = any(known_groups(facts, grouping) for grouping in GROUPINGS)
    where = [
        *([sections.SHORTCUTS] if facts.probes else []),
        *([sections.GROUPS] if grouped else []),
    ]
    if not where:
        return Answer(Status.USER, write=f"how the figures change with {write}")
    return Answer(Status.PARTLY, "; ".join(where), write)


def internal_test(facts: RunFacts) -> Answer:
    """Whether it was tested on slices that training did not see."""
    if facts.test_leaks:
        write = "figures of a test split that shares nothing with training (see the warnings)"
        return Answer(Status.PARTLY, sections.PERFORMANCE, write)
    return Answer(Status.ANSWERED, sections.PERFORMANCE)


def _all_sources(split: SplitFacts | None) -> set[str] | None:
    """The sources of a split; None where some are unknown or too many to be listed."""
    if split is None or len(split.sources) < split.source_count:
        return None
    known = sum(split.sources.values()) == split.slices
    return set(split.sources) if known and split.sources else None


def external_test(facts: RunFacts) -> Answer:
    """Whether it was tested on slices from elsewhere."""
    trained = [_all_sources(facts.splits.get(one)) for one in (ct_example.TRAIN, ct_example.EVAL)]
    tested = _all_sources(facts.splits.get(ct_example.TEST))
    seen = set().union(*(one for one in trained if one is not None))
    if tested and None not in trained and not tested & seen:
        write = "whether these sources are other institutions than those trained on"
        return Answer(Status.PARTLY, sections.DATA, write)
    return Answer(Status.USER, write="figures on slices of another institution")


def flow(facts: RunFacts) -> Answer:
    """Who was included and who was left out."""
    write = "who was left out before the manifest was written, and why"
    if not facts.splits:
        write = f"patients of each split; {write}"
    return Answer(Status.PARTLY, sections.DATA, write)


def demographics(facts: RunFacts) -> Answer:
    """Who the patients of each split are."""
    write = "symptoms, severity and other diseases of the patients of each split"
    missing = [
        name
        for name, known in (
            ("sex", all(one.sexes for one in facts.splits.values())),
            ("age", all(one.ages for one in facts.splits.values())),
        )
        if not known or not facts.splits
    ]
    if len(missing) == 2:
        return Answer(Status.USER, write=f"sex, age, {write}")
    return Answer(Status.PARTLY, sections.DATA, ", ".join([*missing, write]))


def participants(facts: RunFacts) -> Answer:
    """How many patients and positives each analysis has."""
    if facts.splits:
        return Answer(Status.ANSWERED, f"{sections.DATA}; {sections.PERFORMANCE}")
    return Answer(
        Status.PARTLY,
        f"{sections.DATA}; {sections.PERFORMANCE}",
        "patients of the training and validation split",
    )


def fairness(facts: RunFacts) -> Answer:
    """Whether it does alike for different people."""
    write = "ethnicity, deprivation and what else may matter, and what was done about differences"
    if known_groups(facts, SEX) or known_groups(facts, AGE):
        return Answer(Status.PARTLY, sections.GROUPS, write)
    return Answer(Status.USER, write=f"figures by sex and age; {write}")


def clusters(facts: RunFacts) -> Answer:
    """Whether figures differ between sources."""
    if len(known_groups(facts, SOURCE)) > 1:
        write = "how much of the differences between sources is more than chance"
        return Answer(Status.PARTLY, sections.GROUPS, write)
    return Answer(Status.USER, write="figures by hospital, with source in the manifest")


def performance(facts: RunFacts) -> Answer:
    """Figures with intervals, and those of groups."""
    if any(known_groups(facts, grouping) for grouping in (SEX, AGE, SOURCE)):
        return Answer(Status.ANSWERED, f"{sections.PERFORMANCE}; {sections.GROUPS}")
    return Answer(
        Status.PARTLY, sections.PERFORMANCE, "groups, with sex, age and source in the manifest"
    )


def updating(facts: RunFacts) -> Answer:
    """What came of training an earlier model further."""
    if not facts.lineage.parent:
        return Answer(Status.ANSWERED, sections.LINEAGE)
    if facts.evaluation.overall.comparison:
        return Answer(Status.ANSWERED, f"{sections.LINEAGE}; {sections.COMPARISON}")
    return Answer(
        Status.PARTLY, sections.LINEAGE, "how the earlier model does on these test slices"
    )
