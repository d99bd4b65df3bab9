"""Why the gate let a model pass or not, in sentences."""

from __future__ import annotations

from components.run_facts.facts import RunFacts
from components.run_facts.wording import limit_of, metric_name, side_by_side, side_of
from components.slice_evaluator.gate import BoundResult

EVERY_BOUND_HOLDS = "Every bound of the gate holds."


def _say_failed(bound: BoundResult) -> str:
    value, limit = side_by_side(bound.value, limit_of(bound))
    return f"{metric_name(bound.metric)} is {value}; it must be {side_of(bound)} {limit}."


def why_refused(facts: RunFacts) -> list[str]:
    """One sentence a bound that does not hold, and what to look for where the alarm refuses."""
    failed = [_say_failed(bound) for bound in facts.gate.bounds if not bound.passed]
    alarm = facts.gate.alarm
    return failed + (
        [f"Look for: {reason}" for reason in alarm.reasons] if alarm and alarm.refuses else []
    )
