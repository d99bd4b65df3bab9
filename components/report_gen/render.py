"""Writing a report: one HTML file that needs nothing else, and the model card beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import jinja2
from markupsafe import Markup

from components.model_card_gen import sections
from components.model_card_gen.artifact import MODEL_CARD
from components.model_card_gen.card import ModelCard, make_model_card, render_model_card
from components.model_card_gen.checklist import count_answers, tabulate_checklists
from components.model_card_gen.table import Table
from components.report_gen import curves, predictive_values
from components.report_gen.content import ReportContent
from components.report_gen.figures import draw_pictures
from components.report_gen.groups import shown_groupings, unknown_groupings
from components.report_gen.performance import (
    comparison_parts,
    figure_rows,
    interval_of,
    short_interval,
    signed,
    tiles,
)
from components.report_gen.report import INDEX
from components.report_gen.slice_choice import CLEARED, FALSE_ALARMS, FOUND, KINDS, MISSED
from components.report_gen.slice_pictures import SlicePicture
from components.report_gen.verdict import reach_verdict
from components.run_facts.bound_words import in_words
from components.run_facts.facts import RunFacts
from components.run_facts.leaks import touch_the_test
from components.run_facts.wording import (
    FEW_PATIENTS_NOTE,
    count,
    listed,
    number,
    p_value,
    settings,
    split_name,
)
from components.slice_evaluator.groups import SMALL_GROUP
from components.slice_evaluator.predictions import SlicePrediction
from transform.printable import printable
from transform.reading import Reason
from transform.whole_file import write_whole

_KINDS = {
    MISSED: "Missed positives",
    FALSE_ALARMS: "False alarms",
    FOUND: "Positives found",
    CLEARED: "Negatives cleared",
}
_CLASSES = ("negative", "positive")


@dataclasses.dataclass(frozen=True)
class _Card:
    """A slice as the page shows it."""

    id: str
    label: str
    decision: str
    probability: str
    source: str | None
    alt: str
    silent: bool


@dataclasses.dataclass(frozen=True)
class _Checklist:
    """A reporting checklist: how much of it the run answers, and its items."""

    name: str
    summary: str
    table: Table


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Slices of one kind, of which there are `amount`."""

    title: str
    slices: list[_Card]
    amount: int


def _card(one: SlicePrediction, picture: SlicePicture | None) -> _Card:
    label, decision = _CLASSES[one.label], _CLASSES[one.decision]
    marked = ", with the evidence for COVID-19 marked" if picture and picture.explained else ""
    return _Card(
        id=one.id,
        label=label,
        decision=decision,
        probability=number(one.probability),
        source=picture.source if picture else None,
        alt=f"Slice {one.id}: {label}, called {decision} at a probability of "
        f"{number(one.probability)}{marked}.",
        silent=bool(picture and picture.silent),
    )


def _kinds(content: ReportContent) -> list[_Kind]:
    pictures = content.pictures.by_id if content.pictures else {}
    return [
        _Kind(
            _KINDS[kind],
            [_card(one, pictures.get(one.id)) for one in content.chosen.slices[kind]],
            content.chosen.amounts[kind],
        )
        for kind in KINDS
    ]


def _lineage(facts: RunFacts) -> Iterator[tuple[str, str]]:
    """What a model comes from, as far as it is known."""
    training, lineage = facts.training, facts.lineage
    known = (
        ("Data fingerprint", lineage.data_fingerprint),
        ("Code version", lineage.code_version),
        ("Began with the weights of the model", lineage.parent or training.warm_start),
        ("Began with weights", lineage.weights),
        ("Seed of training", training.seed),
        ("Devices", training.replicas),
        ("Slices a step", training.global_batch_size),
        ("Peak learning rate", training.learning_rate),
        ("Seed of the evaluation's resamples", facts.evaluation.seed),
        ("Evaluated", facts.evaluated),
    )
    yield from ((name, f"{value}") for name, value in known if value is not None)


def _parts(content: ReportContent, *, groups: bool) -> list[tuple[str, str]]:
    """Identifiers and short titles of the parts that the page has, in their order."""
    there = [
        ("figures", "Figures", True),
        ("gate", "Gate", True),
        ("comparison", "Last blessed", True),
        ("data", "Data", True),
        ("curves", "ROC", True),
        ("decisions", "Decisions", True),
        ("calibration", "Calibration", True),
        ("groups", "Groups", groups),
        ("prevalence", "Predictive values", True),
        ("training", "Training", True),
        ("serving", "Server", content.serving is not None),
        ("probes", "Probes", content.facts.probes is not None),
        ("slices", "Mistakes", True),
        ("lineage", "Lineage", True),
        ("steps", "Steps", True),
        ("model-card", "Model card", True),
        ("configuration", "Configuration", True),
    ]
    return [(anchor, title) for anchor, title, is_there in there if is_there]


def _splits_named(splits: str) -> str:
    """Splits for people, of those that a leak joins ("test+train")."""
    return listed([split_name(one) for one in splits.split("+")])


def _dropped(facts: RunFacts) -> int:
    """Slices in quarantine because the rest of their patient or group is in a later split."""
    reasons = (Reason.LEAKED_PATIENT, Reason.LEAKED_GROUP)
    return sum(facts.outcome.quarantined.get(one.value, 0) for one in reasons)


def _card_parts(card: ModelCard) -> list[tuple[str, list[str]]]:
    """The sentences of the model card that the page does not say elsewhere, under their titles."""
    parts = (
        (sections.INTENDED_USE, card.intended_use),
        (sections.NOT_FOR, card.out_of_scope),
        (sections.MODEL, card.model),
        (sections.DATA, card.data),
        (sections.LICENCES, card.licences),
        (sections.PERFORMANCE, card.performance),
        (sections.CALIBRATION, card.calibration),
        (sections.LIMITS, card.limits),
    )
    return [(title, list(sentences)) for title, sentences in parts if sentences]


def _checklists(card: ModelCard) -> list[_Checklist]:
    counts = count_answers(card.checklist)
    return [
        _Checklist(
            name,
            ", ".join(f"{amount} {status.value}" for status, amount in counts[name].items()),
            table,
        )
        for name, table in tabulate_checklists(card.checklist).items()
    ]


def _shown(value: object) -> object:
    """What an expression puts into the page: names that others chose, without control characters.

    What is markup already, as a picture is, stays.
    """
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def render_page(content: ReportContent) -> str:
    """The report as one HTML page; the same content gives the same text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("components.report_gen", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        interval=interval_of,
        signed=signed,
        p_value=p_value,
        listed=listed,
        split_name=split_name,
        splits_named=_splits_named,
    )
    environment.globals.update(count=count, ends=short_interval)
    facts = content.facts
    card = make_model_card(facts)
    groupings, unknown = shown_groupings(facts), unknown_groupings(facts)
    return environment.get_template("template.html.j2").render(
        content=content,
        facts=facts,
        overall=facts.evaluation.overall,
        outcome=facts.outcome,
        examples=sum(sum(one.values()) for one in facts.outcome.accepted.values()),
        dropped=_dropped(facts),
        test_leaks=touch_the_test(facts.outcome),
        verdict=reach_verdict(content),
        parts=_parts(content, groups=bool(groupings or unknown)),
        card=card,
        card_parts=_card_parts(card),
        checklists=_checklists(card),
        model_card_file=MODEL_CARD,
        few_patients_note=FEW_PATIENTS_NOTE,
        tiles=tiles(facts),
        figure_rows=figure_rows(facts),
        bounds=[in_words(bound) for bound in facts.gate.bounds],
        comparison=comparison_parts(facts),
        groupings=groupings,
        unknown_groupings=unknown,
        small_group=SMALL_GROUP,
        predictive_values=predictive_values.table(facts),
        reader={
            "name": "CO-RADS 4 or 5",
            "sensitivity": curves.READER_SENSITIVITY,
            "specificity": curves.READER_SPECIFICITY,
            "source": curves.READER_SOURCE,
        },
        pictures=draw_pictures(content),
        kinds=_kinds(content),
        explained=content.pictures is not None
        and any(one.explained for one in content.pictures.by_id.values()),
        lineage=list(_lineage(facts)),
        settings=list(settings(facts.settings.config)),
    )


def render_report(content: ReportContent, folder: Path) -> Path:
    """Write `index.html` and `model_card.md` into a folder, each whole or not at all.

    Returns:
      The page.

    Raises:
      StorageError: the folder cannot be written.
    """
    page = folder / INDEX
    card, text = render_model_card(content.facts), render_page(content)
    write_whole(str(folder / MODEL_CARD), card.encode())
    write_whole(str(page), text.encode())
    return page
