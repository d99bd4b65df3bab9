"""The inspection's page: one HTML file that needs nothing else, thumbnails included."""

from __future__ import annotations

import collections
import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

import jinja2

from components.ct_example_gen.findings import DUPLICATES_FILE, LEAKS_FILE
from components.ct_example_gen.quarantine import FILE_NAME as QUARANTINE_FILE
from components.ct_example_gen.quarantine import QuarantinedSlice
from pipeline.inspection.confounds import Confound
from pipeline.inspection.findings import Findings, Tally
from pipeline.inspection.histograms import draw_histograms
from pipeline.inspection.ingested import DuplicateGroup, GroupMember
from pipeline.inspection.thumbnails import Thumbnail, Thumbnails
from pipeline.inspection.verdict import reach_verdict
from pipeline.inspection.wording import (
    class_of,
    count,
    folder_of_all,
    listed,
    share,
    short_patient,
)
from transform.printable import printable
from transform.reading.unusable import Reason

INDEX = "index.html"

# Pixels: enough to see a small mark, and to compare two slices.
_SIDE_OF_ONE, _SIDE_IN_GROUP = 224, 288
_MEMBERS_SHOWN = 6
_VALUES_SHOWN = 12
# Of AUCs: what lies further below chance is drawn at its end.
_AXIS = (0.3, 1.0)

_TALLIES = {
    "format": ("Format", {"png": "PNG", "jpeg": "JPEG", "dicom": "DICOM", "nifti": "NIfTI"}),
    "mode": ("Pixel mode", {}),
    "calibrated": (
        "Hounsfield units",
        {"True": "from the scanner", "False": "assumed from a display window"},
    ),
    "size": ("Width × height", {}),
    "source": ("Source", {}),
}
"""Titles of the tables of files, and names of values for people."""


@dataclasses.dataclass(frozen=True)
class _Card:
    """A quarantined slice with its thumbnail."""

    thumbnail: Thumbnail
    name: str
    path: str
    detail: str


@dataclasses.dataclass(frozen=True)
class _Reason:
    """A reason of the quarantine, with some of its slices."""

    name: str
    amount: int
    share: str
    cards: list[_Card]
    elsewhere: bool

    @property
    def more(self) -> int:
        """Slices that are not shown."""
        return self.amount - len(self.cards)


@dataclasses.dataclass(frozen=True)
class _Member:
    """A slice of a group with its thumbnail."""

    thumbnail: Thumbnail
    name: str
    path: str
    label: str
    split: str
    patient: str


@dataclasses.dataclass(frozen=True)
class _Group:
    """A group of near-identical slices, numbered for links."""

    anchor: str
    title: str
    members: list[_Member]
    more: int
    splits: list[str]
    patients: int


def _detail(one: QuarantinedSlice) -> str:
    """What was found, without the path that stands above it."""
    return printable(one.detail.removeprefix(one.path).lstrip(" :"))


def _reasons(findings: Findings, folder: str, thumbnails: Thumbnails) -> list[_Reason]:
    reasons = []
    for name, amount in findings.quarantined.items():
        # Their pictures stand side by side in a part of their own.
        elsewhere = name == Reason.CONFLICTING_LABEL.value and findings.conflict_groups > 0
        cards = [
            _Card(
                thumbnails.draw(one.path, one.frame, _SIDE_OF_ONE, one.reason),
                printable(one.id.removeprefix(folder)),
                printable(one.path),
                _detail(one),
            )
            for one in ([] if elsewhere else findings.quarantine_shown[name])
        ]
        reasons.append(
            _Reason(printable(name), amount, share(amount, findings.total), cards, elsewhere)
        )
    return reasons


def _why_no_split(one: GroupMember, without_split: str) -> str:
    if without_split and one.given_split:
        return f"{without_split}, was in {one.given_split}"
    return without_split


def _member(one: GroupMember, without_split: str, folder: str, thumbnails: Thumbnails) -> _Member:
    return _Member(
        thumbnails.draw(one.path, one.frame, _SIDE_IN_GROUP),
        printable(one.id.removeprefix(folder)),
        printable(one.path),
        class_of(one.label),
        printable(one.split or _why_no_split(one, without_split)),
        short_patient(one.patient),
    )


def _some(group: DuplicateGroup) -> list[GroupMember]:
    """The members that are shown, among them one of each split and label before a second."""
    seen: collections.Counter[tuple[str, int | None]] = collections.Counter()
    turns = []
    for place, one in enumerate(group.members):
        turns.append((seen[one.split, one.label], place))
        seen[one.split, one.label] += 1
    return [
        group.members[place] for place in sorted(at for _, at in sorted(turns)[:_MEMBERS_SHOWN])
    ]


def _groups(
    findings: Findings,
    shown: list[DuplicateGroup],
    kind: str,
    folder: str,
    thumbnails: Thumbnails,
) -> list[_Group]:
    # Where no split is given, none is missing.
    without_split = "" if list(findings.accepted) == [""] else "quarantine"
    return [
        _Group(
            anchor=f"{kind}-{number}",
            title=f"{kind.capitalize()} {number}",
            members=[_member(one, without_split, folder, thumbnails) for one in _some(group)],
            more=max(len(group.members) - _MEMBERS_SHOWN, 0),
            splits=group.splits,
            patients=len(group.patients),
        )
        for number, group in enumerate(shown, start=1)
    ]


def _folder_of_shown(findings: Findings) -> str:
    groups = (*findings.duplicates_shown, *findings.conflicts_shown)
    quarantined = (one for shown in findings.quarantine_shown.values() for one in shown)
    return folder_of_all(
        [
            *(one.id for group in groups for one in group.members),
            *(one.id for one in quarantined),
        ]
    )


def _on_axis(auc: float) -> float:
    """Where an AUC stands, in percent of the axis."""
    low, high = _AXIS
    return 100 * (min(max(auc, low), high) - low) / (high - low)


def _bar(confound: Confound) -> dict[str, str] | None:
    """Where interval and point of a confound stand on the axis."""
    if confound.auc is None or confound.low is None or confound.high is None:
        return None
    low, high = _on_axis(confound.low), _on_axis(confound.high)
    return {
        "left": f"{low:.1f}%",
        "width": f"{high - low:.1f}%",
        "point": f"{_on_axis(confound.auc):.1f}%",
    }


def _tallies(findings: Findings) -> list[dict[str, Any]]:
    tables = []
    for name, (title, named) in _TALLIES.items():
        tally: Tally = findings.tallies[name]
        # One value more would take no more room than to say that there is one.
        shown = len(tally) if len(tally) == _VALUES_SHOWN + 1 else _VALUES_SHOWN
        rows = [
            {"value": named.get(value, printable(value)) or "none", "counts": by_class}
            for value, by_class in list(tally.items())[:shown]
        ]
        rest = list(tally.values())[shown:]
        if rows:
            tables.append(
                {
                    "title": title,
                    "rows": rows,
                    "more": len(rest),
                    "rest": {one: sum(row[one] for row in rest) for one in findings.classes},
                }
            )
    return tables


def render_page(findings: Findings, thumbnails: Thumbnails) -> str:
    """The page; the same findings and files give the same text."""
    environment = jinja2.Environment(
        # The report's style sheet is the house's.
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("pipeline.inspection", "."),
                jinja2.PackageLoader("components.report_gen", "."),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        printable=printable, listed=listed, short_patient=short_patient, thousands="{:,}".format
    )
    environment.globals.update(count=count)
    folder = _folder_of_shown(findings)
    # What matters most is drawn before the page has pictures enough.
    conflicts = _groups(findings, findings.conflicts_shown, "conflict", folder, thumbnails)
    duplicates = _groups(findings, findings.duplicates_shown, "duplicate", folder, thumbnails)
    return environment.get_template("page.html.j2").render(
        findings=findings,
        verdict=reach_verdict(findings),
        folder=folder,
        reasons=_reasons(findings, folder, thumbnails),
        conflicts=conflicts,
        duplicates=duplicates,
        crossing=[one for one in (*duplicates, *conflicts) if len(one.splits) > 1],
        leaks=sum(findings.leaks.values()),
        confounds=[(one, _bar(one)) for one in findings.confounds],
        chance=f"{_on_axis(0.5):.1f}%",
        axis="{} to {:.0f}".format(*_AXIS),
        tallies=_tallies(findings),
        histograms=draw_histograms(findings.sample),
        quarantine_file=findings.folder / QUARANTINE_FILE,
        leaks_file=findings.folder / LEAKS_FILE,
        duplicates_file=findings.folder / DUPLICATES_FILE,
    )


def write_page(findings: Findings, out: Path) -> Path:
    """Write `index.html` into a folder, whole or not at all.

    Returns:
      The page.
    """
    window, base, root = findings.window, findings.base, findings.root
    with Thumbnails(window=window, base=base, root=root) as thumbnails:
        text = render_page(findings, thumbnails)
    out.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{INDEX}.", dir=out)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        # Slices of patients are in it: it stays with whoever asked, as mkstemp made it.
        return Path(unfinished).replace(out / INDEX)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
