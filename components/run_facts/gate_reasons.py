"""Why the gate let a model pass or not, in sentences."""

from __future__ import annotations

from components.run_facts.bound_words import in_words
from components.run_facts.facts import RunFacts

EVERY_BOUND_HOLDS = "Every bound of the gate holds."


def why_refused(facts: RunFacts) -> list[str]:
    """One sentence a bound that does not hold, and what to look for where the alarm refuses."""
    missed = [in_words(bound) for bound in facts.gate.bounds if not bound.passed]
    failed = [f"{one.name} is {one.value}; it must be {one.must_be}." for one in missed]
    alarm = facts.gate.alarm
    return failed + (
        [f"Look for: {reason}" for reason in alarm.reasons] if alarm and alarm.refuses else []
    )
