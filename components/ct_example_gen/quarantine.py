"""The quarantine: what could not be used, a JSON line a slice, with its reason."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from tfx.types import artifact

FILE_NAME = "quarantine.jsonl"


class Quarantine(artifact.Artifact):
    """Artifact: a folder with `quarantine.jsonl`, and `counts.jsonl` of what came of the input."""

    TYPE_NAME = "ctnet.Quarantine"


@dataclasses.dataclass(frozen=True)
class QuarantinedSlice:
    """One manifest row that is in no split.

    Attributes:
      id: the slice's id.
      path: its file, as the manifest writes it.
      reason: a `transform.reading.Reason` code.
      detail: one line for a person.
    """

    id: str
    path: str
    reason: str
    detail: str

    def to_json(self) -> str:
        """The slice as one line of the quarantine file."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


def read_quarantine(folder: Path) -> Iterator[QuarantinedSlice]:
    """The slices in a quarantine artifact's folder, one at a time."""
    with (folder / FILE_NAME).open(encoding="utf-8") as file:
        for line in file:
            yield QuarantinedSlice(**json.loads(line))
