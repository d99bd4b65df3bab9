"""What the comparison of all slices found: near-duplicates and leaks, a JSON line each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from components.ct_example_gen.quarantine import json_line
from transform.ct_example import SPLITS

DUPLICATES_FILE = "duplicates.jsonl"
LEAKS_FILE = "leaks.jsonl"
ACCEPTED_FILE = "accepted.jsonl"


@dataclasses.dataclass(frozen=True)
class DuplicateGroup:
    """Slices that show the same picture; the lists have one entry a slice, sorted by id.

    Attributes:
      ids: the slices.
      paths: their files, as the manifest writes them.
      frames: which slice of its file, None for a file of one slice.
      labels: "1", "0" or empty.
      splits: where each ended, empty for quarantine.
      given_splits: of the manifest, empty where it gives none.
      patients: their patients.
      conflict: whether they stand under two labels.
    """

    ids: list[str]
    paths: list[str]
    frames: list[int | None]
    labels: list[str]
    splits: list[str]
    given_splits: list[str]
    patients: list[str]
    conflict: bool

    def to_json(self) -> str:
        """The group as one line of its file."""
        return json_line(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class Leak:
    """A group of patients in more than one split.

    Attributes:
      bound_by: "patient" where one patient is in two splits, "duplicates" where different patients
        with a picture in common are.
      splits: the splits, sorted by name.
      patients: the group's.
      slices: how many, by split.
      first_ids: a few of them, by split.
    """

    bound_by: str
    splits: list[str]
    patients: list[str]
    slices: dict[str, int]
    first_ids: dict[str, list[str]]

    @property
    def kept_split(self) -> str:
        """The last of the splits in the order of use, where the group may stay."""
        return max(self.splits, key=SPLITS.index)

    def to_json(self) -> str:
        """The leak as one line of its file."""
        return json_line(dataclasses.asdict(self))


def read_duplicates(folder: Path) -> Iterator[DuplicateGroup]:
    """The groups in a quarantine artifact's folder, one at a time."""
    with (folder / DUPLICATES_FILE).open(encoding="utf-8") as file:
        for line in file:
            yield DuplicateGroup(**json.loads(line))


def read_leaks(folder: Path) -> Iterator[Leak]:
    """The leaks in a quarantine artifact's folder, one at a time."""
    with (folder / LEAKS_FILE).open(encoding="utf-8") as file:
        for line in file:
            yield Leak(**json.loads(line))
