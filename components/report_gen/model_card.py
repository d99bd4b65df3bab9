"""The model card: what the model is for, what it was made from, and what it cannot do."""

from __future__ import annotations

import dataclasses
import math
import re

import jinja2

from components.report_gen.content import ReportContent
from components.report_gen.verdict import Verdict, reach_verdict
from components.report_gen.wording import METRIC_NAMES, count, listed, metric_name, number
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
      verdict: whether the model is served.
      intended_use: what it is for, and what not.
      data: what it was made from and tested on.
      limits: where its figures stop saying anything.
      threshold: how the operating point was chosen.
      figures: name and value of every figure on the test split.
    """

    verdict: Verdict
    intended_use: tuple[str, ...]
    data: list[str]
    limits: list[str]
    threshold: str
    figures: list[tuple[str, str]]


def _window(content: ReportContent) -> str:
    window = content.config.get("hounsfield", {}).get("window")
    if not window:
        return "an assumed window"
    low, high = (number(edge, 0) for edge in window)
    return f"an assumed window ({low} HU for black, {high} HU for white)"


def _describe_data(content: ReportContent) -> list[str]:
    splits = [
        f"{split_name(split)}: {count(counts['1'], 'positive slice')} and "
        f"{count(counts['0'], 'negative slice')}"
        for split, counts in content.outcome.accepted.items()
    ]
    quarantined = content.outcome.total_quarantined
    reasons = [f"{amount:,} {reason}" for reason, amount in content.outcome.quarantined.items()]
    tested = content.predictions
    return [
        f"{'; '.join(splits)}.".capitalize(),
        f"Left out: {count(quarantined, 'slice')}" + (f" ({listed(reasons)})." if reasons else "."),
        f"The figures are of {count(len(tested), 'slice')} of {count(tested.patients, 'patient')} "
        "in the test split, which neither training nor calibration has seen."
        if not content.leaks
        else f"The figures are of {count(len(tested), 'slice')} of "
        f"{count(tested.patients, 'patient')}, and too good: see the warnings.",
    ]


def _describe_limits(content: ReportContent) -> list[str]:
    return [
        "8-bit pictures (PNG, JPEG) have lost their Hounsfield units and are read under "
        f"{_window(content)}; one exported under another window looks denser or less dense than "
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


def _describe_threshold(content: ReportContent) -> str:
    training = content.training
    return (
        "A slice is called positive where its calibrated probability is at least "
        f"{number(training.threshold)}, "
        + (
            _describe_choice(training.operating_point)
            if training.operating_point
            else "chosen on the validation split."
        )
    )


def make_model_card(content: ReportContent) -> ModelCard:
    """The model card of a run."""
    return ModelCard(
        verdict=reach_verdict(content),
        intended_use=INTENDED_USE,
        data=_describe_data(content),
        limits=_describe_limits(content),
        threshold=_describe_threshold(content),
        figures=[
            (metric_name(name), number(value, 0 if value.is_integer() and value > 1 else 3))
            for name, value in content.gate.metrics.items()
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


def render_model_card(content: ReportContent) -> str:
    """The model card as Markdown."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("components.report_gen", "."),
        # Markdown, not HTML: the filters escape what comes from outside.
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(code=_code, plain=_plain)
    template = environment.get_template("model_card.md.j2")
    return template.render(content=content, card=make_model_card(content))
