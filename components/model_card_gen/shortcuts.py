"""What the shortcut probes found."""

from __future__ import annotations

import math

from components.model_card_gen.table import Table
from components.run_facts.facts import RunFacts
from components.run_facts.wording import with_interval
from components.shortcut_probes.outcome import PLAIN, Probe
from components.slice_evaluator.measured import Figure


def _auc(probe: Probe) -> str:
    if probe.auc is None:
        return "undefined"
    if probe.low is None or probe.high is None:
        return with_interval(Figure(probe.auc, math.nan, math.nan))
    return with_interval(Figure(probe.auc, probe.low, probe.high))


def _finding(probe: Probe) -> str:
    if probe.name == PLAIN:
        return "to compare with"
    return "a shortcut" if probe.suspicious else "none found"


def tabulate_probes(facts: RunFacts) -> Table | None:
    """The AUC of each probe; None where nobody looked."""
    if facts.probes is None:
        return None
    rows = [
        (probe.title, f"{probe.slices:,}", f"{probe.patients:,}", _auc(probe), _finding(probe))
        for probe in facts.probes.probes
    ]
    return Table(("Probe", "Slices", "Patients", "AUC (95 % interval)", "Shortcut"), rows)


def describe_probes(facts: RunFacts) -> list[str]:
    """What the probes mean, a sentence each."""
    if facts.probes is None:
        return [
            "Nobody looked whether the model sees anything but the lungs: the run had no probes."
        ]
    found = [probe.sentence for probe in facts.probes.probes if probe.suspicious]
    return found or [
        "No probe found a shortcut. That does not rule out those that lie within the lungs."
    ]
