"""Writing a report: one HTML file that needs nothing else, and the model card beside it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import jinja2

from components.model_card_gen.artifact import MODEL_CARD
from components.model_card_gen.card import make_model_card, render_model_card, split_name
from components.report_gen.content import ReportContent
from components.report_gen.figures import draw_pictures
from components.report_gen.report import INDEX
from components.report_gen.verdict import reach_verdict
from components.run_facts.wording import (
    METRIC_NAMES,
    count,
    limit_of,
    metric_name,
    number,
    settings,
    side_by_side,
    side_of,
)
from components.slice_evaluator.figures import AUC, SENSITIVITY, SPECIFICITY
from components.slice_evaluator.gate import AUC_CHANGE

_MISTAKES_SHOWN = 8


def write_whole(text: str, path: Path) -> None:
    """Write a file so that nobody sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        # mkstemp keeps others out; a report is for them too.
        Path(unfinished).chmod(0o644)
        os.replace(unfinished, path)  # noqa: PTH105 the name says that it overwrites
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def _tiles(content: ReportContent) -> list[dict[str, Any]]:
    """The figures that decide first, with their bounds, then the others; NaN fills no bar.

    Figures of patients, intervals and those that nobody named for people are not among them.
    """
    bounds = {bound.metric: bound for bound in content.facts.gate.bounds}
    order = [SENSITIVITY, SPECIFICITY, AUC, *METRIC_NAMES]
    tiles = []
    for name in dict.fromkeys(order):
        value = content.facts.gate.metrics.get(name)
        if value is None or value > 1.0:
            continue
        bound = bounds.get(name)
        tiles.append(
            {
                "name": metric_name(name),
                "value": number(value),
                "percent": 100.0 * value if value == value else 0.0,
                "bound": bound,
                "decides": name in (SENSITIVITY, SPECIFICITY, AUC),
            }
        )
    return tiles


def _bounds(content: ReportContent) -> list[dict[str, Any]]:
    rows = []
    for bound in content.facts.gate.bounds:
        value, limit = side_by_side(bound.value, limit_of(bound))
        rows.append(
            {
                "name": metric_name(bound.metric),
                "value": value,
                "must_be": f"{side_of(bound)} {limit}",
                "passed": bound.passed,
            }
        )
    return rows


def _mistakes(content: ReportContent) -> list[dict[str, Any]]:
    """The wrong decisions whose probability lies farthest from the threshold."""
    threshold = content.facts.training.threshold
    rows = [
        (abs(probability - threshold), slice_id, label, probability)
        for slice_id, label, probability, decision in zip(
            content.predictions.id,
            content.predictions.label.tolist(),
            content.predictions.probability.tolist(),
            content.predictions.decision.tolist(),
            strict=True,
        )
        if label != decision
    ]
    rows.sort(key=lambda row: (-row[0], row[1]))
    return [
        {"id": slice_id, "label": label, "probability": number(probability)}
        for _, slice_id, label, probability in rows[:_MISTAKES_SHOWN]
    ]


def render_page(content: ReportContent) -> str:
    """The report as one HTML page; the same content gives the same text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("components.report_gen", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, split_name=split_name)
    environment.globals.update(count=count)
    return environment.get_template("template.html.j2").render(
        content=content,
        facts=content.facts,
        verdict=reach_verdict(content),
        card=make_model_card(content.facts),
        tiles=_tiles(content),
        bounds=_bounds(content),
        compared=any(bound.metric == AUC_CHANGE for bound in content.facts.gate.bounds),
        mistakes=_mistakes(content),
        pictures=draw_pictures(content),
        settings=list(settings(content.facts.settings.config)),
    )


def render_report(content: ReportContent, folder: Path) -> Path:
    """Write `index.html` and `model_card.md` into a folder, each whole or not at all.

    Returns:
      The page.
    """
    page = folder / INDEX
    card, text = render_model_card(content.facts), render_page(content)
    write_whole(card, folder / MODEL_CARD)
    write_whole(text, page)
    return page
