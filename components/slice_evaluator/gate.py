"""The gate: which bounds decide the blessing, and how a model stands to them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from components.shortcut_probes.outcome import OF_THE_MODEL, SUSPICIOUS_AUC, ProbeResults
from components.slice_evaluator import leak_alarm
from components.slice_evaluator.figure_names import LOWER, SLICES, name_of
from components.slice_evaluator.figures import ACCURACY, SENSITIVITY, SPECIFICITY
from components.slice_evaluator.measured import Part

AUC_CHANGE = "auc_change"
LEAK_ALARM = "leak_alarm"
SHORTCUT = "shortcut"

# No change is no regression, whatever the last bit of a difference.
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Minimum:
    """What a figure must reach.

    Attributes:
      at_least: the bound.
      of_lower_end: whether it is on the lower end of the 95 % interval, not on the figure itself.
      unit: `figure_names.SLICES` or `figure_names.PATIENTS`.
      every_group_of: it also holds for every group of at least so many patients; None: for the
        whole test split only.
    """

    at_least: float
    of_lower_end: bool = False
    unit: str = SLICES
    every_group_of: int | None = None


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a model must reach on the test split.

    Attributes:
      min_sensitivity: share of positives decided positive.
      min_specificity: share of negatives decided negative.
      max_regression: how much AUC may be lost against the baseline, where there is one.
      leak_alarm: the accuracy above which a result is suspicious; None: none is.
      accept_leak_alarm: a person looked for a leak and found none.
    """

    min_sensitivity: Minimum
    min_specificity: Minimum
    max_regression: float
    leak_alarm: float | None = leak_alarm.DEFAULT_ALARM
    accept_leak_alarm: bool = False

    def to_json(self) -> str:
        """The bounds as a parameter of an execution; equal ones give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Bounds:
        """The bounds that `to_json` wrote."""
        values = json.loads(text)
        for name in ("min_sensitivity", "min_specificity"):
            values[name] = Minimum(**values[name])
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class BoundResult:
    """One bound and how the model stands to it.

    Attributes:
      metric: whose bound it is, as in `sensitivity`, `patient_sensitivity_lower`,
        `sensitivity[sex=F]` or `shortcut[border_only]`.
      at_least: the bound; None where it is an upper one.
      value: the figure.
      passed: the verdict; a figure that is undefined (NaN) does not pass.
      at_most: the upper bound; None for all but the leak alarm and the shortcuts.
    """

    metric: str
    at_least: float | None
    value: float
    passed: bool
    at_most: float | None = None


@dataclasses.dataclass(frozen=True)
class LeakAlarm:
    """Whether a result is too good to be true.

    Attributes:
      above: the accuracy above which it is; None where the alarm is off by configuration.
      accuracy: of the test slices.
      patients: of the test split.
      suspicious: whether the alarm went off.
      accepted: whether a person looked for a leak and let the model pass all the same; False where
        the alarm did not go off.
      says: one line where it went off, else None.
      reasons: what to look for, a sentence each; empty where it did not go off.
    """

    above: float | None
    accuracy: float
    patients: int
    suspicious: bool
    accepted: bool
    says: str | None
    reasons: list[str]

    @property
    def refuses(self) -> bool:
        """Whether the model may not pass for it."""
        return self.suspicious and not self.accepted


@dataclasses.dataclass(frozen=True)
class GateResult:
    """What the evaluation of one model says.

    Attributes:
      metrics: figures by name, over the whole test split.
      bounds: every bound that applied; a leak alarm is one where it refuses, a shortcut where the
        probes were asked to.
      alarm: the leak alarm.
    """

    metrics: dict[str, float]
    bounds: list[BoundResult]
    alarm: LeakAlarm | None = None

    @property
    def passed(self) -> bool:
        """Whether every bound held."""
        return all(bound.passed for bound in self.bounds)


def _judge_minimum(figure: str, minimum: Minimum, part: Part, group: str = "") -> BoundResult:
    found = part.of(minimum.unit).figures[figure]
    value = found.lower if minimum.of_lower_end else found.value
    name = name_of(figure, minimum.unit) + (LOWER if minimum.of_lower_end else "") + group
    # NaN is not at least anything.
    return BoundResult(name, minimum.at_least, value, value >= minimum.at_least)


def _judge_figure(
    figure: str, minimum: Minimum, overall: Part, groups: Mapping[str, Mapping[str, Part]]
) -> Iterator[BoundResult]:
    yield _judge_minimum(figure, minimum, overall)
    if minimum.every_group_of is None:
        return
    for grouping, parts in groups.items():
        for group, part in parts.items():
            # A group of negatives alone has no sensitivity that a model could reach.
            about_someone = not math.isnan(part.of(minimum.unit).figures[figure].value)
            if part.patients.count >= minimum.every_group_of and about_someone:
                yield _judge_minimum(figure, minimum, part, f"[{grouping}={group}]")


def judge_alarm(overall: Part, bounds: Bounds) -> LeakAlarm:
    """Whether a result is too good to be true.

    Args:
      overall: of the whole test split.
      bounds: with the alarm.
    """
    accuracy = overall.slices.figures[ACCURACY].value
    patients = overall.patients.count
    facts: tuple[Mapping[str, float], int] = ({ACCURACY: accuracy}, patients)
    suspicious = bounds.leak_alarm is not None and leak_alarm.is_suspicious(
        *facts, bounds.leak_alarm
    )
    says = None
    if suspicious and bounds.leak_alarm is not None:
        says = leak_alarm.describe_alarm(*facts, bounds.leak_alarm)
    return LeakAlarm(
        above=bounds.leak_alarm,
        accuracy=accuracy,
        patients=patients,
        suspicious=suspicious,
        accepted=suspicious and bounds.accept_leak_alarm,
        says=says,
        reasons=list(leak_alarm.REASONS) if suspicious else [],
    )


def _judge_shortcuts(probes: ProbeResults) -> Iterator[BoundResult]:
    """What the model may tell apart without the lungs; probes of files say nothing of the model."""
    for name in OF_THE_MODEL:
        value = probes.probe(name).auc_at_least
        # NaN is not at most anything.
        passed = value <= SUSPICIOUS_AUC
        yield BoundResult(f"{SHORTCUT}[{name}]", None, value, passed, at_most=SUSPICIOUS_AUC)


def judge(
    overall: Part,
    groups: Mapping[str, Mapping[str, Part]],
    alarm: LeakAlarm,
    bounds: Bounds,
    probes: ProbeResults | None = None,
) -> list[BoundResult]:
    """Every bound that applies, with its verdict.

    Args:
      overall: of the whole test split.
      groups: by grouping and group.
      alarm: see `judge_alarm`.
      bounds: what must be reached.
      probes: of the same model, where shortcuts refuse it.
    """
    results = [
        *_judge_figure(SENSITIVITY, bounds.min_sensitivity, overall, groups),
        *_judge_figure(SPECIFICITY, bounds.min_specificity, overall, groups),
    ]
    if overall.comparison is not None:
        change = overall.comparison.slices.auc.difference
        kept = change >= -bounds.max_regression - _ROUNDING
        results.append(BoundResult(AUC_CHANGE, -bounds.max_regression, change, kept))
    if alarm.refuses:
        results.append(
            BoundResult(LEAK_ALARM, None, alarm.accuracy, passed=False, at_most=alarm.above)
        )
    if probes is not None:
        results += _judge_shortcuts(probes)
    return results


def as_json(bounds: list[BoundResult]) -> list[dict[str, Any]]:
    """Bounds for programs; the upper bound stands only where there is one."""
    return [
        {
            name: value
            for name, value in dataclasses.asdict(bound).items()
            if name != "at_most" or value is not None
        }
        for bound in bounds
    ]
