"""The verdict: whether the model is served now, and if not, why."""

from __future__ import annotations

import dataclasses

from components.report_gen.content import ReportContent
from components.run_facts.gate_reasons import EVERY_BOUND_HOLDS, why_refused


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


def reach_verdict(content: ReportContent) -> Verdict:
    """The verdict on a run."""
    failed = why_refused(content.facts)
    if content.pushed:
        version = f" as version {content.version}" if content.version else ""
        return Verdict(True, f"Pushed{version}", failed or [EVERY_BOUND_HOLDS])
    refused = content.serving.reason if content.serving else None
    if content.facts.blessed:
        why = (
            f"The gate let the model pass, but the trial in a server did not: {refused}."
            if refused
            else "The gate let the model pass, but it was not pushed; the run's log says why."
        )
    elif failed:
        why = "What was served before, if anything, still is."
    else:
        why = "The evaluation withheld its blessing, although every bound of the gate holds."
    # Whoever mends the figures should know of what comes next.
    if refused and not content.facts.blessed:
        failed.append(f"The trial in a server failed, too: {refused}.")
    return Verdict(False, "Not pushed", [*failed, why])
