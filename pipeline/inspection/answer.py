"""What `ctnet inspect --json` prints: the findings as data for programs."""

from __future__ import annotations

import dataclasses
from typing import Any

from components.ct_example_gen.findings import ACCEPTED_FILE
from pipeline.inspection.findings import Findings
from pipeline.inspection.ingested import read_duplicates, read_leaks, read_lines, read_quarantine


def _encodable(value: Any) -> Any:
    """The same with text that UTF-8 can write: names of files may hold bytes that are not text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _encodable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(one) for one in value]
    return value


def _counts(findings: Findings) -> dict[str, Any]:
    return {
        "accepted": findings.total_accepted,
        "quarantined": findings.total_quarantined,
        "patients": findings.all_patients,
        "splits": {
            split: {
                one: {"slices": amount, "patients": findings.patients[split][one]}
                for one, amount in by_class.items()
            }
            for split, by_class in findings.accepted.items()
        },
        "reasons": findings.quarantined,
        **findings.tallies,
    }


def to_json(findings: Findings) -> dict[str, Any]:
    """All findings, JSON values only.

    Returns:
      `accepted` (the lines of `accepted.jsonl`), `quarantined` (`id`, `path`, `reason`, `detail`,
      `frame`), `duplicates` and `conflicts` (lists of groups of paths; a group with two labels is
      among the conflicts only), `counts`, `leaks` (`bound_by`: `patient` or `duplicates`,
      `patients`, and `slices` by split) and `confounds` (`feature`, `auc`, `low`, `high`, `note`,
      `suspicious`; AUC and interval are null where there are too few patients to say).
    """
    duplicates: list[list[str]] = []
    conflicts: list[list[str]] = []
    for group in read_duplicates(findings.folder):
        paths = [one.path for one in group.members]
        (conflicts if group.conflict else duplicates).append(paths)
    leaks = sorted(
        map(dataclasses.asdict, read_leaks(findings.folder)), key=lambda row: row["patients"]
    )
    # A Beam job writes its lines in any order.
    accepted = sorted(read_lines(findings.folder / ACCEPTED_FILE), key=lambda row: row["id"])
    quarantined = sorted(
        map(dataclasses.asdict, read_quarantine(findings.folder)),
        key=lambda row: (row["id"], row["path"], row["reason"]),
    )
    answer = {
        "accepted": accepted,
        "quarantined": quarantined,
        "duplicates": sorted(duplicates),
        "conflicts": sorted(conflicts),
        "counts": _counts(findings),
        "leaks": leaks,
        "confounds": [
            {
                "feature": one.feature,
                "auc": one.auc,
                "low": one.low,
                "high": one.high,
                "note": one.note,
                "suspicious": one.suspicious,
            }
            for one in findings.confounds
        ],
    }
    return _encodable(answer)
