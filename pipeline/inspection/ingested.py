"""The files that an ingestion leaves for an inspection, a JSON object a line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from components.ct_example_gen.findings import DUPLICATES_FILE, LEAKS_FILE
from components.ct_example_gen.quarantine import FILE_NAME as QUARANTINE_FILE
from components.ct_example_gen.quarantine import QuarantinedSlice
from transform.ct_example import SPLITS
from transform.errors import CtnetError


def _place(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def in_order(splits: Iterable[str]) -> list[str]:
    """Splits in the order in which a run uses them."""
    return sorted(splits, key=_place)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, one at a time; none where there is no such file.

    Raises:
      CtnetError: a line is cut off or is no JSON object.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except ValueError as error:
                raise CtnetError(
                    f"{path} line {number} is not whole; run the inspection again"
                ) from error
            if not isinstance(values, dict):
                raise CtnetError(f"{path} line {number} is no JSON object")
            yield values


@dataclasses.dataclass(frozen=True)
class GroupMember:
    """One of several near-identical slices.

    `split` is empty where it ended in quarantine, `given_split` where the manifest gives none.
    """

    id: str
    path: str
    frame: int | None
    label: int | None
    split: str
    patient: str
    given_split: str = ""


@dataclasses.dataclass(frozen=True)
class DuplicateGroup:
    """Near-identical slices.

    Attributes:
      members: all of them, by split and id.
      conflict: whether they are labelled differently.
    """

    members: tuple[GroupMember, ...]
    conflict: bool

    @property
    def splits(self) -> list[str]:
        """The splits that the slices ended in, in the order of a run."""
        return in_order({one.split for one in self.members if one.split})

    @property
    def patients(self) -> list[str]:
        """Whose the slices are."""
        return sorted({one.patient for one in self.members if one.patient})

    @classmethod
    def of(cls, values: dict[str, Any]) -> DuplicateGroup:
        """The group that a line of `duplicates.jsonl` tells of."""
        columns = zip(
            values["ids"],
            values["paths"],
            values.get("frames") or [None] * len(values["ids"]),
            values["labels"],
            values["splits"],
            values["patients"],
            values.get("given_splits") or [""] * len(values["ids"]),
            strict=True,
        )
        members = [
            GroupMember(
                id=slice_id,
                path=path,
                frame=frame,
                label=None if label in (None, "") else int(label),
                split=split or "",
                patient=patient or "",
                given_split=given,
            )
            for slice_id, path, frame, label, split, patient, given in columns
        ]
        members.sort(key=lambda one: (_place(one.split), one.id, one.path))
        return cls(tuple(members), bool(values["conflict"]))


@dataclasses.dataclass(frozen=True)
class Leak:
    """Patients in several splits.

    Attributes:
      bound_by: `patient` where one patient is in several splits, `duplicates` where the splits
        have different patients, who have a picture in common.
      patients: those of the group that may not be cut.
      slices: how many of theirs, by split.
    """

    bound_by: str
    patients: tuple[str, ...]
    slices: dict[str, int]

    @classmethod
    def of(cls, values: dict[str, Any]) -> Leak:
        """The leak that a line of `leaks.jsonl` tells of."""
        slices = values["slices"]
        return cls(
            bound_by=values["bound_by"],
            patients=tuple(values["patients"]),
            slices={split: slices[split] for split in in_order(slices)},
        )


def read_quarantine(folder: Path) -> Iterator[QuarantinedSlice]:
    """The quarantined slices, one at a time."""
    return (QuarantinedSlice(**line) for line in read_lines(folder / QUARANTINE_FILE))


def read_duplicates(folder: Path) -> Iterator[DuplicateGroup]:
    """The groups of near-identical slices, one at a time."""
    return map(DuplicateGroup.of, read_lines(folder / DUPLICATES_FILE))


def read_leaks(folder: Path) -> Iterator[Leak]:
    """The leaks, one at a time."""
    return map(Leak.of, read_lines(folder / LEAKS_FILE))
