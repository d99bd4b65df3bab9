"""The verdict: how many slices can be used, what would stop a run, and what would mislead it."""

from __future__ import annotations

import dataclasses

from pipeline.inspection.findings import Findings
from pipeline.inspection.wording import NEGATIVE, POSITIVE, UNLABELLED, count, listed, share

# What binds a leak, as `leaks.jsonl` names it.
BY_PATIENT = "patient"
BY_DUPLICATES = "duplicates"

_CONFOUNDS_SAID = 5


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a reader wants to know first.

    Attributes:
      headline: a few words.
      stops: sentences about what would stop a run on this data.
      warnings: sentences about what would not stop it, but mislead whoever reads its figures.
    """

    headline: str
    stops: list[str]
    warnings: list[str]


def _missing_classes(findings: Findings) -> list[str]:
    missing = [
        f"no {one} slice in {split}"
        for split, by_class in findings.accepted.items()
        for one in (POSITIVE, NEGATIVE)
        if not by_class[one]
    ]
    if not missing:
        return []
    return [f"There is {listed(missing)}; give more patients, or another split."]


def _leaks(findings: Findings) -> str:
    found = []
    if patients := findings.leaks.get(BY_PATIENT, 0):
        found.append(count(patients, "patient"))
    if groups := findings.leaks.get(BY_DUPLICATES, 0):
        found.append(f"{count(groups, 'group')} of patients with a picture in common")
    if not found:
        return ""
    verb = "is" if patients + groups == 1 else "are"
    return f"{listed(found)} {verb} in more than one split"


def reach_verdict(findings: Findings) -> Verdict:
    """The verdict on a data set."""
    stops, warnings = [], []
    if findings.total_accepted == 0:
        stops.append("No slice can be used.")
    else:
        if list(findings.accepted) == [""]:
            warnings.append(
                "No labels were given, as for a folder: classes, splits and confounds can be "
                "judged only with a manifest."
            )
        else:
            stops += _missing_classes(findings)
            if unlabelled := sum(one[UNLABELLED] for one in findings.accepted.values()):
                warnings.append(f"{count(unlabelled, 'slice')} without a label.")
        refused, wanted = findings.refused
        if refused > findings.max_quarantined * wanted:
            stops.append(
                f"{share(refused, wanted)} of the slices cannot be "
                f"used, more than ingest.max_quarantined allows ({findings.max_quarantined:.0%}). "
                "Mend or remove them, or raise it."
            )
    if leaks := _leaks(findings):
        if findings.on_leak == "stop":
            stops.append(
                f"{leaks}; mend the split, or set ingest.on_leak to drop_from_train or report."
            )
        else:
            warnings.append(f"{leaks}.")
    if groups := findings.conflict_groups:
        warnings.append(
            f"{count(groups, 'picture')} {'has' if groups == 1 else 'have'} two labels, in "
            f"{count(findings.conflict_slices, 'slice')}."
        )
    if suspicious := findings.suspicious:
        said = [f"{one.title} ({one.auc:.2f})" for one in suspicious[:_CONFOUNDS_SAID]]
        if len(suspicious) > len(said):
            said.append(f"{len(suspicious) - len(said)} more")
        warnings.append(
            "The file alone predicts the label of patients not seen before, and a model can learn "
            f"it instead of the lungs (AUC, 0.5 is chance): {listed(said)}."
        )
    if findings.would_stop and not stops:
        stops.append(findings.would_stop)
    usable = f"{findings.total_accepted:,} of {count(findings.total, 'slice')} can be used"
    return Verdict(f"{usable}, but a run would stop" if stops else usable, stops, warnings)
