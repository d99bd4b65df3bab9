"""Which items of the reporting checklists a run answers, and which only its user can answer."""

from __future__ import annotations

from components.model_card_gen import claim, tripod_ai
from components.model_card_gen.answers import Status
from components.model_card_gen.checklist_item import ChecklistItem
from components.model_card_gen.table import Table
from components.run_facts.facts import RunFacts

CHECKLISTS = {claim.NAME: claim.ITEMS, tripod_ai.NAME: tripod_ai.ITEMS}
"""Items by checklist, in the order in which they were published."""


def fill_checklists(facts: RunFacts) -> list[ChecklistItem]:
    """Every item of the checklists, with what the run answers."""
    items = []
    for standard, asked in CHECKLISTS.items():
        for one in asked:
            answer = one.rule(facts)
            items.append(
                ChecklistItem(
                    standard=standard,
                    number=one.number,
                    section=one.section,
                    topic=one.topic,
                    status=answer.status,
                    where=answer.where,
                    write=answer.write,
                )
            )
    return items


def count_answers(items: list[ChecklistItem]) -> dict[str, dict[Status, int]]:
    """How many items of each checklist have each status."""
    counts: dict[str, dict[Status, int]] = {}
    for item in items:
        counts.setdefault(item.standard, dict.fromkeys(Status, 0))[item.status] += 1
    return counts


def tabulate_checklists(items: list[ChecklistItem]) -> dict[str, Table]:
    """The items of each checklist, by its name."""
    columns = ("Item", "Asks for", "Answered", "Where", "To add")
    rows: dict[str, list[tuple[str, ...]]] = {}
    for item in items:
        row = (item.number, item.topic, item.status.value, item.where, item.write)
        rows.setdefault(item.standard, []).append(row)
    return {standard: Table(columns, of_it) for standard, of_it in rows.items()}
