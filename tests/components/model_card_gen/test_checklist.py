"""The checklists say of every item whether the run answers it, and point where it does."""

import dataclasses
import re
from collections import Counter

import pytest

from components.model_card_gen.answers import REPORT, Status
from components.model_card_gen.card import make_model_card, render_model_card
from components.model_card_gen.checklist import CHECKLISTS, count_answers, fill_checklists
from components.model_card_gen.sections import SECTIONS
from components.run_facts.lineage import Lineage

CLAIM, TRIPOD = CHECKLISTS


def statuses(facts):
    return {(item.standard, item.number): item.status for item in fill_checklists(facts)}


def test_claim_has_its_44_items_and_tripod_its_27_in_order(refused):
    numbers = {
        standard: [item.number for item in fill_checklists(refused) if item.standard == standard]
        for standard in CHECKLISTS
    }
    assert numbers[CLAIM] == [str(number) for number in range(1, 45)]
    # Items with parts: 3a to 3c, and so on.
    parts = Counter(int(re.match(r"\d+", number)[0]) for number in numbers[TRIPOD])
    assert sorted(parts) == list(range(1, 28))
    several = {number: count for number, count in parts.items() if count > 1}
    assert several == {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}
    assert numbers[TRIPOD] == sorted(
        numbers[TRIPOD], key=lambda number: (int(re.match(r"\d+", number)[0]), number)
    )


@pytest.mark.parametrize("facts", ["refused", "passed", "well_known"])
def test_an_item_says_where_it_is_answered_or_what_the_user_has_to_add(facts, request):
    for item in make_model_card(request.getfixturevalue(facts)).checklist:
        assert item.topic
        assert bool(item.where) == (item.status != Status.USER), item
        assert bool(item.write) == (item.status != Status.ANSWERED), item
        for place in item.where.split("; ") if item.where else []:
            assert place in (*SECTIONS, REPORT), item


def test_the_card_lists_every_item_and_counts_them(refused):
    card = render_model_card(refused)
    items = fill_checklists(refused)
    for item in items:
        assert f"| {item.number} | {item.topic} | {item.status.value} |" in card
    for counts in count_answers(items).values():
        said = ", ".join(f"{number} {status.value}" for status, number in counts.items())
        assert f"\n{said}.\n" in card
        assert sum(counts.values()) in (44, 52)


# Every item whose status a run decides: with all that a run can know, and with as little.
DECIDED = {
    (CLAIM, "7"): (Status.PARTLY, Status.USER),
    (CLAIM, "9"): (Status.ANSWERED, Status.USER),
    (CLAIM, "11"): (Status.PARTLY, Status.USER),
    (CLAIM, "19"): (Status.ANSWERED, Status.PARTLY),
    (CLAIM, "20"): (Status.ANSWERED, Status.PARTLY),
    (CLAIM, "22"): (Status.ANSWERED, Status.USER),
    (CLAIM, "23"): (Status.ANSWERED, Status.USER),
    (CLAIM, "24"): (Status.ANSWERED, Status.USER),
    (CLAIM, "25"): (Status.ANSWERED, Status.PARTLY),
    (CLAIM, "27"): (Status.ANSWERED, Status.USER),
    (CLAIM, "30"): (Status.PARTLY, Status.USER),
    (CLAIM, "32"): (Status.ANSWERED, Status.PARTLY),
    (CLAIM, "33"): (Status.PARTLY, Status.USER),
    (CLAIM, "36"): (Status.PARTLY, Status.USER),
    (TRIPOD, "5a"): (Status.PARTLY, Status.USER),
    (TRIPOD, "7"): (Status.ANSWERED, Status.USER),
    (TRIPOD, "9a"): (Status.ANSWERED, Status.USER),
    (TRIPOD, "9b"): (Status.ANSWERED, Status.USER),
    (TRIPOD, "12a"): (Status.ANSWERED, Status.PARTLY),
    (TRIPOD, "12b"): (Status.ANSWERED, Status.USER),
    (TRIPOD, "12c"): (Status.ANSWERED, Status.PARTLY),
    (TRIPOD, "12d"): (Status.PARTLY, Status.USER),
    (TRIPOD, "13"): (Status.ANSWERED, Status.USER),
    (TRIPOD, "14"): (Status.PARTLY, Status.USER),
    (TRIPOD, "20b"): (Status.PARTLY, Status.USER),
    (TRIPOD, "20c"): (Status.PARTLY, Status.USER),
    (TRIPOD, "21"): (Status.ANSWERED, Status.PARTLY),
    (TRIPOD, "23a"): (Status.ANSWERED, Status.PARTLY),
    (TRIPOD, "23b"): (Status.PARTLY, Status.USER),
}


@pytest.fixture
def little_known(refused, changed):
    """The facts of a run that knows as little as a run can."""
    return changed(
        refused,
        config={},
        leaks=["Split by image."],
        groups={},
        lineage=Lineage(),
        training=dataclasses.replace(refused.training, versions={}),
    )


def test_what_a_run_knows_decides_an_items_status(well_known, little_known):
    much, little = statuses(well_known), statuses(little_known)
    assert {item: (much[item], little[item]) for item in DECIDED} == DECIDED
    # The others are the same for every run.
    assert {item for item in much if much[item] != little[item]} == DECIDED.keys()


def answer(facts, standard, number):
    (found,) = (
        item
        for item in fill_checklists(facts)
        if (item.standard, item.number) == (standard, number)
    )
    return found


def test_a_test_split_of_sources_that_training_knows_is_no_external_test(well_known, changed):
    assert answer(well_known, CLAIM, "33").status == Status.PARTLY
    splits = well_known.splits
    same = changed(well_known, splits={**splits, "test": splits["train"]})
    assert answer(same, CLAIM, "33").status == Status.USER
    # Some slices do not say where they are from: they may be from anywhere.
    unsure = dataclasses.replace(splits["train"], sources={"ward": 59})
    some = changed(well_known, splits={**splits, "train": unsure})
    assert answer(some, CLAIM, "33").status == Status.USER


def test_only_a_leak_into_the_test_split_spoils_the_internal_test(refused):
    for splits, status in (("eval+train", Status.ANSWERED), ("eval+test", Status.PARTLY)):
        outcome = dataclasses.replace(refused.outcome, leaks={splits: 1})
        leaking = dataclasses.replace(refused, outcome=outcome)
        assert answer(leaking, CLAIM, "32").status == status
        assert answer(leaking, CLAIM, "20").status == Status.PARTLY


def test_the_patients_of_a_split_are_asked_for_as_far_as_they_are_unknown(well_known, changed):
    assert "age" not in answer(well_known, CLAIM, "36").write
    without = dataclasses.replace(well_known.splits["eval"], ages=None)
    facts = changed(well_known, splits={**well_known.splits, "eval": without})
    assert answer(facts, CLAIM, "36").write.startswith("age, symptoms")


def test_updating_is_answered_by_the_comparison_with_the_model_that_it_began_with(
    refused, well_known
):
    assert answer(refused, TRIPOD, "24").status == Status.ANSWERED
    child = Lineage(parent="/w/pipeline/Trainer/model/7")
    compared = answer(dataclasses.replace(well_known, lineage=child), TRIPOD, "24")
    assert (compared.status, "Comparison" in compared.where) == (Status.ANSWERED, True)
    alone = answer(dataclasses.replace(refused, lineage=child), TRIPOD, "24")
    assert alone.status == Status.PARTLY


def test_groups_and_probes_are_pointed_at_only_where_there_are_some(well_known, changed):
    assert answer(well_known, CLAIM, "30").where == "Shortcut probes; Groups"
    unprobed = dataclasses.replace(well_known, probes=None)
    assert answer(unprobed, CLAIM, "30").where == "Groups"
    ungrouped = changed(well_known, groups={})
    assert answer(ungrouped, CLAIM, "30").where == "Shortcut probes"
