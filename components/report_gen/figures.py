"""Every picture of a report, by the part of the page that it stands in."""

from __future__ import annotations

import re

from markupsafe import Markup

from components.report_gen.content import ReportContent
from components.report_gen.curves import draw_precision_recall, draw_roc
from components.report_gen.decisions import draw_confusions, draw_histogram
from components.report_gen.groups import draw_groups
from components.report_gen.picture import Picture, inline
from components.report_gen.predictive_values import draw_predictive_values
from components.report_gen.probe_plot import draw_probes
from components.report_gen.reliability import draw_reliability
from transform.training_record import CALIBRATION, LEARNING_CURVES, THRESHOLD

CURVES, DECISIONS, PROBABILITIES = "curves", "decisions", "probabilities"
GROUPS, PREVALENCE, TRAINING, PROBES = "groups", "prevalence", "training", "probes"
"""Parts of the page that have pictures."""

_TRAINING_TITLES = {
    LEARNING_CURVES: "Learning curves",
    CALIBRATION: "Calibration on the validation split",
    THRESHOLD: "Choice of the threshold",
}


def _drawn_in_training(content: ReportContent, *names: str) -> list[Picture]:
    """Pictures that training left, which say in their `<title>` what they show."""
    pictures = []
    for name in names:
        svg = content.training_pictures.get(name)
        if svg is not None:
            found = re.search(r"<title>(.*?)</title>", svg, flags=re.DOTALL)
            alt = str(Markup(found[1]).unescape()) if found else ""
            pictures.append(Picture(name, _TRAINING_TITLES[name], alt, inline(svg, name, alt)))
    return pictures


def draw_pictures(content: ReportContent) -> dict[str, list[Picture]]:
    """Every picture of a report; the same content gives the same bytes."""
    facts, answers = content.facts, content.answers
    groups = draw_groups(facts)
    return {
        CURVES: [draw_roc(facts, answers), draw_precision_recall(facts, answers)],
        DECISIONS: [*draw_confusions(facts), draw_histogram(facts, answers)],
        PROBABILITIES: [
            *_drawn_in_training(content, CALIBRATION),
            draw_reliability(answers),
        ],
        GROUPS: [groups] if groups else [],
        PREVALENCE: [draw_predictive_values(facts)],
        TRAINING: _drawn_in_training(content, LEARNING_CURVES, THRESHOLD),
        PROBES: [draw_probes(facts.probes)] if facts.probes else [],
    }
