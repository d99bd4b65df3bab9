"""The model card: what the model is for, what it was made from, and what it cannot do."""

from __future__ import annotations

import dataclasses
import math
import re

import jinja2

from components.run_facts.facts import RunFacts
from components.run_facts.gate_reasons import EVERY_BOUND_HOLDS, why_refused
from components.run_facts.wording import METRIC_NAMES, count, listed, metric_name, number
from transform import ct_example
from transform.training_record import SENSITIVITY_RULE, YOUDEN_RULE, OperatingPoint

INTENDED_USE = (
    "An aid for professionals who read chest CT: for one axial slice it gives the probability "
    "that the slice shows COVID-19, to be weighed with the whole study, the patient and other "
    "tests.",
    "It is not a screening test, and not the sole way of diagnosing or ruling out COVID-19.",
    "It is research software, not a certified medical device.",
)

_SPLIT_NAMES = {
    ct_example.TRAIN: "training",
    ct_example.EVAL: "validation",
    ct_example.TEST: "test",
}


def split_name(split: str) -> str:
    """A split's name for people."""
    return _SPLIT_NAMES[split]


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """A model card as sentences, for the page and for the file alike.

    Attributes:
      verdict: whether the gate let the model pass, in a few words.
      reasons: sentences that say why.
      intended_use: what it is for, and what not.
      data: what it was made from and tested on.
      limits: where its figures stop saying anything.
      threshold: how the operating point was chosen.
      figures: name and value of every figure on the test split.
    """

    verdict: str
    reasons: list[str]
    intended_use: tuple[str, ...]
    data: list[str]
    limits: list[str]
    threshold: str
    figures: list[tuple[str, str]]


def _window(facts: RunFacts) -> str:
    window = facts.settings.config.get("hounsfield", {}).get("window")
    if not window:
        return "an assumed window"
    low, high = (number(edge, 0) for edge in window)
    return f"an assumed window ({low} HU for black, {high} HU for white)"


def _describe_data(facts: RunFacts) -> list[str]:
    splits = [
        f"{split_name(split)}: {count(counts['1'], 'positive slice')} and "
        f"{count(counts['0'], 'negative slice')}"
        for split, counts in facts.outcome.accepted.items()
    ]
    quarantined = facts.outcome.total_quarantined
    reasons = [f"{amount:,} {reason}" for reason, amount in facts.outcome.quarantined.items()]
    overall = facts.evaluation.overall
    tested = (
        f"The figures are of {count(overall.slices.count, 'slice')} of "
        f"{count(overall.patients.count, 'patient')}"
    )
    return [
        f"{'; '.join(splits)}.".capitalize(),
        f"Left out: {count(quarantined, 'slice')}" + (f" ({listed(reasons)})." if reasons else "."),
        f"{tested}, and too good: see the warnings."
        if facts.settings.leaks
        else f"{tested} in the test split, which neither training nor calibration has seen.",
    ]


def _describe_limits(facts: RunFacts) -> list[str]:
    return [
        "8-bit pictures (PNG, JPEG) have lost their Hounsfield units and are read under "
        f"{_window(facts)}; one exported under another window looks denser or less dense than "
        "the lung was.",
        "Scanners, protocols, ages and diseases that the data lacks were not tested, and other "
        "pneumonias can look like COVID-19.",
        "The figures are of single slices; slices of one patient resemble each other, so the "
        "figures are less certain than the number of slices suggests.",
        "Nobody has shown that reading with the model is better for patients.",
    ]


def _describe_choice(point: OperatingPoint) -> str:
    """Where the threshold comes from, as the end of a sentence, and how sure it is."""
    how = {
        SENSITIVITY_RULE: "chosen for a sensitivity of "
        f"{number(point.target_sensitivity or math.nan, 2)} on the validation split",
        YOUDEN_RULE: "chosen where sensitivity and specificity add up to most on the validation "
        "split",
    }.get(point.rule, "as the configuration has it")
    ranges = [
        f"{name} of {number(low)} to {number(high)}"
        for name, (low, high) in (
            ("sensitivity", point.sensitivity_interval),
            ("specificity", point.specificity_interval),
        )
    ]
    return (
        f"{how}. There, 95 % of {count(point.resamples, 'resample')} of the validation patients "
        f"have a {' and a '.join(ranges)}."
    )


def _describe_threshold(facts: RunFacts) -> str:
    training = facts.training
    return (
        "A slice is called positive where its calibrated probability is at least "
        f"{number(training.threshold)}, "
        + (
            _describe_choice(training.operating_point)
            if training.operating_point
            else "chosen on the validation split."
        )
    )


def make_model_card(facts: RunFacts) -> ModelCard:
    """The model card of a run."""
    return ModelCard(
        verdict="Passed the gate" if facts.blessed else "Refused by the gate",
        reasons=why_refused(facts) or [EVERY_BOUND_HOLDS],
        intended_use=INTENDED_USE,
        data=_describe_data(facts),
        limits=_describe_limits(facts),
        threshold=_describe_threshold(facts),
        figures=[
            (metric_name(name), number(value, 0 if value.is_integer() and value > 1 else 3))
            for name, value in facts.gate.metrics.items()
            if name in METRIC_NAMES
        ],
    )


def _code(text: str) -> str:
    """Text as a Markdown code span, whatever stands in it (CommonMark 6.1)."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{' '.join(text.split())}{space}{fence}"


def _plain(text: str) -> str:
    """Text in which Markdown and HTML see nothing but text."""
    return re.sub(r"([\\`*_\[\]<>&|#])", r"\\\1", " ".join(text.split()))


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
    environment.filters.update(code=_code, plain=_plain)
    template = environment.get_template("model_card.md.j2")
    return template.render(facts=facts, card=make_model_card(facts))
