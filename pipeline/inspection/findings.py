"""Findings: what an ingestion left in its folder, counted, and the part of it that is shown."""

from __future__ import annotations

import bisect
import collections
import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from components.ct_example_gen.findings import ACCEPTED_FILE
from components.ct_example_gen.outcome import LEFT_OUT_ON_REQUEST
from components.ct_example_gen.quarantine import QuarantinedSlice
from pipeline.inspection.confounds import Confound, find_confounds
from pipeline.inspection.ingested import (
    DuplicateGroup,
    Leak,
    in_order,
    read_duplicates,
    read_leaks,
    read_lines,
    read_quarantine,
)
from pipeline.inspection.sample import Sample, Sampler
from pipeline.inspection.wording import CLASSES, class_of
from transform.ct_example import SPLITS

# More would bury the reader, and make the page too heavy to open.
SHOWN_OF_A_REASON = 24
SHOWN_GROUPS = 60
SHOWN_LEAKS = 60

Tally = dict[str, dict[str, int]]
"""Slices by some value and class, the most frequent value first."""

_Kept = TypeVar("_Kept")


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """Everything that an inspection shows.

    Attributes:
      name: what was inspected.
      folder: the ingestion's files.
      base: what relative paths of slices start from.
      root: folder outside of which no file is read, or None.
      window: HU of black and white.
      accepted: slices that can be used, by split (empty where no split is given) and class.
      patients: how many patients those are of, by split and class.
      all_patients: how many patients those are of.
      quarantined: slices that cannot be used, by reason, the most frequent first.
      quarantine_shown: some of each reason.
      tallies: accepted slices by `format`, `mode`, `size`, `source`, `calibrated`, and class.
      duplicate_groups: groups of near-identical slices under one label.
      duplicate_slices: slices in them.
      duplicates_shown: those across splits first, then those across patients.
      conflict_groups: groups of near-identical slices under two labels.
      conflict_slices: slices in them.
      conflicts_shown: as for duplicates.
      crossing_groups: groups of near-identical slices in several splits.
      leaks: how many there are, by what binds them: `patient` or `duplicates`.
      leaks_shown: those of most slices first.
      confounds: what the file alone predicts, `together` first.
      sample: of the accepted slices, with the statistics of their pixels.
      max_quarantined: share of the slices above which a run stops.
      on_leak: what a run does about a leak: `stop`, `drop_from_train` or `report`.
      would_stop: why a run would stop, in its own words, or None.
    """

    name: str
    folder: Path
    base: Path
    root: Path | None
    window: tuple[float, float]
    accepted: dict[str, dict[str, int]]
    patients: dict[str, dict[str, int]]
    all_patients: int
    quarantined: dict[str, int]
    quarantine_shown: dict[str, list[QuarantinedSlice]]
    tallies: dict[str, Tally]
    duplicate_groups: int
    duplicate_slices: int
    duplicates_shown: list[DuplicateGroup]
    conflict_groups: int
    conflict_slices: int
    conflicts_shown: list[DuplicateGroup]
    crossing_groups: int
    leaks: dict[str, int]
    leaks_shown: list[Leak]
    confounds: list[Confound]
    sample: Sample
    max_quarantined: float
    on_leak: str
    would_stop: str | None

    @property
    def total_accepted(self) -> int:
        """Slices that can be used."""
        return sum(sum(by_class.values()) for by_class in self.accepted.values())

    @property
    def total_quarantined(self) -> int:
        """Slices that cannot."""
        return sum(self.quarantined.values())

    @property
    def total(self) -> int:
        """Slices that were found."""
        return self.total_accepted + self.total_quarantined

    @property
    def classes(self) -> list[str]:
        """The classes that any accepted slice is of; positive and negative where there is none."""
        found = [
            one for one in CLASSES if any(by_class[one] for by_class in self.accepted.values())
        ]
        return found or list(CLASSES[:2])

    @property
    def suspicious(self) -> list[Confound]:
        """The confounds that a model will probably find."""
        return [one for one in self.confounds if one.suspicious]

    @property
    def refused(self) -> tuple[int, int]:
        """Slices that cannot be used, and of how many; those left out on request do not count."""
        unwanted = sum(self.quarantined.get(reason.value, 0) for reason in LEFT_OUT_ON_REQUEST)
        return self.total_quarantined - unwanted, self.total


class _Smallest(Generic[_Kept]):
    """The few things that come first in some order, of many that are seen one at a time."""

    def __init__(self, most: int, order: Callable[[_Kept], Any]):
        self._most = most
        self._order = order
        self.kept: list[_Kept] = []

    def add(self, one: _Kept) -> None:
        bisect.insort(self.kept, one, key=self._order)
        del self.kept[self._most :]


def _by_hash(one: QuarantinedSlice) -> tuple[bytes, str]:
    """An order in which neighbours of a series are far apart, the same in every run."""
    name = f"{one.id} {one.path} {one.frame}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(name).digest(), one.detail


def _by_slices(leak: Leak) -> tuple[Any, ...]:
    return -sum(leak.slices.values()), leak.patients


def _by_gravity(group: DuplicateGroup) -> tuple[Any, ...]:
    return (
        -len(group.splits),
        -min(len(group.patients), 2),
        [(one.path, -1 if one.frame is None else one.frame) for one in group.members],
    )


class _Accepted:
    """Counts of the accepted slices, filled line by line."""

    def __init__(self) -> None:
        self.slices: dict[tuple[str, str], int] = collections.Counter()
        self.tallies: dict[str, collections.Counter[tuple[str, str]]] = {
            name: collections.Counter()
            for name in ("format", "mode", "size", "source", "calibrated")
        }
        # One bit for each split and class in which a patient has slices.
        self._bits: dict[tuple[str, str], int] = {}
        self._places_of: dict[str, int] = {}
        self.sampler = Sampler()

    def add(self, row: dict[str, Any]) -> None:
        one_class = class_of(row.get("label"))
        place = (row.get("split") or "", one_class)
        self.slices[place] += 1
        bit = self._bits.setdefault(place, 1 << len(self._bits))
        patient = row.get("patient_id")
        if patient:
            self._places_of[patient] = self._places_of.get(patient, 0) | bit
        calibrated = row.get("calibrated")
        values = {
            "format": row.get("format") or "",
            "mode": row.get("mode") or "",
            "size": f"{row['width']} × {row['height']}",
            "source": row.get("source") or "",
            "calibrated": "" if calibrated is None else str(bool(calibrated)),
        }
        for name, value in values.items():
            self.tallies[name][value, one_class] += 1
        self.sampler.add(row)

    @property
    def splits(self) -> list[str]:
        found = {split for split, _ in self.slices}
        if found <= {""}:
            return [""]
        return in_order(found | set(SPLITS))

    def by_split(self) -> dict[str, dict[str, int]]:
        return {
            split: {one: self.slices.get((split, one), 0) for one in CLASSES}
            for split in self.splits
        }

    def patients_by_split(self) -> dict[str, dict[str, int]]:
        counted = {split: dict.fromkeys(CLASSES, 0) for split in self.splits}
        amounts = collections.Counter(self._places_of.values())
        for (split, one_class), bit in self._bits.items():
            counted[split][one_class] = sum(
                amount for places, amount in amounts.items() if places & bit
            )
        return counted

    @property
    def patients(self) -> int:
        return len(self._places_of)

    def tally(self, name: str) -> Tally:
        by_value: Tally = collections.defaultdict(lambda: dict.fromkeys(CLASSES, 0))
        for (value, one_class), amount in self.tallies[name].items():
            by_value[value][one_class] += amount
        frequent = sorted(by_value, key=lambda value: (-sum(by_value[value].values()), value))
        return {value: by_value[value] for value in frequent}


def gather(
    folder: Path,
    *,
    window: tuple[float, float],
    base: Path,
    name: str = "",
    root: Path | None = None,
    max_quarantined: float = 0.1,
    on_leak: str = "stop",
    would_stop: str | None = None,
) -> Findings:
    """Read what an ingestion left for an inspection.

    Lines are read one at a time; kept are counts, what is shown, and a bounded sample.

    Args:
      folder: with `accepted.jsonl`, `quarantine.jsonl`, `duplicates.jsonl` and `leaks.jsonl`; one
        that is missing counts as empty.
      window: HU of black and white in pictures that lost their Hounsfield units.
      base: what relative paths of slices start from.
      name: what was inspected; `base` where empty.
      root: folder outside of which no file is read for a thumbnail, or None.
      max_quarantined: share of the slices above which a run stops.
      on_leak: what a run does about a leak.
      would_stop: why a run would stop, in its own words; shown where the findings do not say it.

    Raises:
      CtnetError: a line is not whole.
    """
    quarantined: collections.Counter[str] = collections.Counter()
    shown: dict[str, _Smallest[QuarantinedSlice]] = {}
    for one in read_quarantine(folder):
        quarantined[one.reason] += 1
        if one.reason not in shown:
            shown[one.reason] = _Smallest(SHOWN_OF_A_REASON, _by_hash)
        shown[one.reason].add(one)

    accepted = _Accepted()
    for row in read_lines(folder / ACCEPTED_FILE):
        accepted.add(row)

    groups: collections.Counter[bool] = collections.Counter()
    slices: collections.Counter[bool] = collections.Counter()
    gravest = {conflict: _Smallest(SHOWN_GROUPS, _by_gravity) for conflict in (False, True)}
    crossing_groups = 0
    for group in read_duplicates(folder):
        groups[group.conflict] += 1
        slices[group.conflict] += len(group.members)
        gravest[group.conflict].add(group)
        crossing_groups += len(group.splits) > 1

    leaks: collections.Counter[str] = collections.Counter()
    largest = _Smallest(SHOWN_LEAKS, _by_slices)
    for leak in read_leaks(folder):
        leaks[leak.bound_by] += 1
        largest.add(leak)

    sample = accepted.sampler.sample()
    return Findings(
        name=name or str(base),
        folder=folder,
        base=base,
        root=root,
        window=window,
        accepted=accepted.by_split(),
        patients=accepted.patients_by_split(),
        all_patients=accepted.patients,
        quarantined=dict(sorted(quarantined.items(), key=lambda item: (-item[1], item[0]))),
        quarantine_shown={
            reason: sorted(few.kept, key=lambda one: (one.path, one.frame or 0, one.id))
            for reason, few in shown.items()
        },
        tallies={name: accepted.tally(name) for name in accepted.tallies},
        duplicate_groups=groups[False],
        duplicate_slices=slices[False],
        duplicates_shown=gravest[False].kept,
        conflict_groups=groups[True],
        conflict_slices=slices[True],
        conflicts_shown=gravest[True].kept,
        crossing_groups=crossing_groups,
        leaks=dict(leaks),
        leaks_shown=largest.kept,
        confounds=find_confounds(sample),
        sample=sample,
        max_quarantined=max_quarantined,
        on_leak=on_leak,
        would_stop=would_stop,
    )
