"""The verdict: whether the model is served now, and if not, why."""

from __future__ import annotations

import dataclasses

from components.report_gen.content import ReportContent
from components.report_gen.wording import limit_of, metric_name, side_by_side, side_of
from components.slice_evaluator.gate import BoundResult


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a reader wants to know first.

    Attributes:
      pushed: whether the model is served now.
      headline: a few words.
      reasons: sentences.
    """

    pushed: bool
    headline: str
    reasons: list[str]


def _say_failed(bound: BoundResult) -> str:
    value, limit = side_by_side(bound.value, limit_of(bound))
    return f"{metric_name(bound.metric)} is {value}; it must be {side_of(bound)} {limit}."


def _say_alarm(content: ReportContent) -> list[str]:
    """What to look for where the leak alarm refuses."""
    alarm = content.gate.alarm
    return [f"Look for: {reason}" for reason in alarm.reasons] if alarm and alarm.refuses else []


def reach_verdict(content: ReportContent) -> Verdict:
    """The verdict on a run."""
    failed = [_say_failed(bound) for bound in content.gate.bounds if not bound.passed]
    failed += _say_alarm(content)
    if content.pushed:
        version = f" as version {content.version}" if content.version else ""
        return Verdict(True, f"Pushed{version}", failed or ["Every bound of the gate holds."])
    refused = content.serving.reason if content.serving else None
    if content.blessed:
        why = (
            f"The gate let the model pass, but the trial in a server did not: {refused}."
            if refused
            else "The gate let the model pass, but it was not pushed; the run's log says why."
        )
    elif failed:
        why = "A model that was served before is still served."
    else:
        why = "The evaluation withheld its blessing, although every bound of the gate holds."
    # Whoever mends the figures should know of what comes next.
    if refused and not content.blessed:
        failed.append(f"The trial in a server failed, too: {refused}.")
    return Verdict(False, "Not pushed", [*failed, why])
