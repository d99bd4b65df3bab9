"""The model card: what the model is for, what it was made from, and what it cannot do."""

from __future__ import annotations

import dataclasses

import jinja2

from components.model_card_gen import markdown, sections
from components.model_card_gen.architecture import describe_model
from components.model_card_gen.calibration import describe_calibration, describe_threshold
from components.model_card_gen.checklist import (
    count_answers,
    fill_checklists,
    tabulate_checklists,
)
from components.model_card_gen.checklist_item import ChecklistItem
from components.model_card_gen.comparison import describe_comparison, tabulate_comparison
from components.model_card_gen.data import describe_data, tabulate_splits
from components.model_card_gen.intended_use import INTENDED_USE, out_of_scope
from components.model_card_gen.licences import describe_licences
from components.model_card_gen.limits import describe_limits
from components.model_card_gen.performance import (
    describe_gate,
    describe_groups,
    describe_performance,
    tabulate_bounds,
    tabulate_groups,
    tabulate_performance,
)
from components.model_card_gen.provenance import describe_lineage
from components.model_card_gen.shortcuts import describe_probes, tabulate_probes
from components.model_card_gen.table import Table
from components.run_facts.facts import RunFacts
from components.run_facts.gate_reasons import EVERY_BOUND_HOLDS, why_refused


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """A model card as sentences and tables, for the page and for the file alike.

    Attributes:
      verdict: whether the gate let the model pass, in a few words.
      reasons: sentences that say why.
      warnings: what a reader must know before the figures.
      intended_use: what it is for.
      out_of_scope: what it is not for.
      model: what it is and how it was trained.
      data: what it was made from and tested on.
      splits: who is in which split.
      licences: what is known of terms.
      gate: how results that are too good are watched for.
      bounds: of the gate, and how the model stands to them.
      performance: what the figures are of.
      overall: all figures with intervals, of slices and patients.
      groups: how to read the groups.
      by_group: figures of groups with intervals; no rows where none is known.
      calibration: how far probabilities can be taken at their word.
      threshold: how the operating point was chosen.
      shortcuts: what the probes mean.
      probes: what the probes found; None where nobody looked.
      comparison: the tests against the last blessed model.
      differences: from that model; None where there was none.
      limits: where its figures stop saying anything.
      lineage: name and value of what it was made from.
      checklist: items of CLAIM and TRIPOD+AI, in this order.
    """

    verdict: str
    reasons: list[str]
    warnings: list[str]
    intended_use: tuple[str, ...]
    out_of_scope: list[str]
    model: list[str]
    data: list[str]
    splits: Table
    licences: list[str]
    gate: list[str]
    bounds: Table
    performance: list[str]
    overall: Table
    groups: list[str]
    by_group: Table
    calibration: list[str]
    threshold: str
    shortcuts: list[str]
    probes: Table | None
    comparison: list[str]
    differences: Table | None
    limits: list[str]
    lineage: list[tuple[str, str]]
    checklist: list[ChecklistItem]


def make_model_card(facts: RunFacts) -> ModelCard:
    """The model card of a run."""
    return ModelCard(
        verdict="Passed the gate" if facts.blessed else "Refused by the gate",
        reasons=why_refused(facts) or [EVERY_BOUND_HOLDS],
        warnings=facts.warnings,
        intended_use=INTENDED_USE,
        out_of_scope=out_of_scope(facts),
        model=describe_model(facts),
        data=describe_data(facts),
        splits=tabulate_splits(facts),
        licences=describe_licences(facts),
        gate=describe_gate(facts),
        bounds=tabulate_bounds(facts),
        performance=describe_performance(facts),
        overall=tabulate_performance(facts),
        groups=describe_groups(facts),
        by_group=tabulate_groups(facts),
        calibration=describe_calibration(facts),
        threshold=describe_threshold(facts),
        shortcuts=describe_probes(facts),
        probes=tabulate_probes(facts),
        comparison=describe_comparison(facts),
        differences=tabulate_comparison(facts),
        limits=describe_limits(facts),
        lineage=describe_lineage(facts),
        checklist=fill_checklists(facts),
    )


def render_model_card(facts: RunFacts) -> str:
    """The model card as Markdown."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("components.model_card_gen", "."),
        # Markdown, not HTML: the filters escape what comes from outside.
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(code=markdown.code, plain=markdown.plain, table=markdown.table)
    card = make_model_card(facts)
    return environment.get_template("model_card.md.j2").render(
        name=facts.settings.name,
        card=card,
        sections=sections,
        checklists=tabulate_checklists(card.checklist),
        counts=count_answers(card.checklist),
    )
