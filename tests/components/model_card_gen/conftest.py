"""A card as people read it, and facts with all that a run can know."""

import dataclasses
import re

import pytest
import tfx.v1  # noqa: F401 before anything of TFMA
from markdown_it import MarkdownIt

from components.model_card_gen.card import render_model_card
from components.run_facts.split_facts import AgeRange, SplitFacts
from components.shortcut_probes.outcome import LUNGS_BLANKED, PLAIN, Probe, ProbeResults
from components.slice_evaluator.measured import Comparison
from components.slice_evaluator.paired_comparison import (
    DeLong,
    Difference,
    McNemar,
    PairedComparison,
)

CONFIG = {
    "hounsfield": {"window": [-1000.0, 400.0]},
    "ingest": {"patient_ids": "hash"},
    "split": {"ignore_manifest": True},
    "transform": {"hu_min": -1000.0, "hu_max": 400.0, "image_size": 224},
    "model": {
        "backbone": "efficientnet-b3",
        "head": "gap",
        "weights": "imagenet",
        "flip_average": True,
    },
    "train": {"class_weights": True, "examples_per_class": None, "early_stopping": 8},
}


@pytest.fixture
def config():
    """A configuration as far as the card reads it."""
    return CONFIG


def compared(rows):
    return PairedComparison(
        rows=rows,
        patients=30,
        auc=Difference(0.801, 0.861, 0.060, 0.011, 0.109),
        sensitivity=Difference(0.8, 0.855, 0.055, -0.01, 0.12),
        specificity=Difference(0.75, 0.763, 0.013, -0.05, 0.08),
        delong=DeLong(0.060, 0.01, 0.11, 0.021),
        mcnemar=McNemar(3, 7, 0.344),
    )


def split(source, **values):
    known = SplitFacts(
        slices=60,
        patients=30,
        calibrated=45,
        sexes={"F": 40},
        sources={source: 60},
        source_count=1,
        ages=AgeRange(50, 20.0, 48.0, 81.0),
    )
    return dataclasses.replace(known, **values)


@pytest.fixture
def split_of():
    """`(source, changes)`: facts of a split of sixty slices."""
    return split


@pytest.fixture
def well_known(passed, changed):
    """The facts of a run that knows all that a run can know."""
    overall = passed.evaluation.overall
    by_source = {"ward": overall, "clinic": overall}
    return changed(
        passed,
        config=CONFIG,
        splits={"train": split("ward"), "eval": split("ward"), "test": split("clinic")},
        overall=dataclasses.replace(overall, comparison=Comparison(compared(60), compared(30))),
        groups={**passed.evaluation.groups, "source": by_source},
        probes=ProbeResults(
            (
                Probe(PLAIN, "Plain", 60, 30, 0.861, 0.8, 0.92, False, "As they are."),
                Probe(LUNGS_BLANKED, "No lungs", 60, 30, 0.7, 0.62, 0.78, True, "A shortcut."),
            ),
            slices=60,
            without_lungs=0,
            lungs_in_border=0.1,
        ),
    )


@pytest.fixture
def sections():
    """`(facts)`: the text of each section of the rendered card, by its title; `html` of all."""

    def read(facts):
        html = MarkdownIt("commonmark").enable("table").render(render_model_card(facts))
        parts = re.split(r"<h2>(.*?)</h2>", html)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    return read
