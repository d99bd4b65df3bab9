"""The quarantine: what could not be used, a JSON line a slice, with its reason."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfx.types import artifact

FILE_NAME = "quarantine.jsonl"


class Quarantine(artifact.Artifact):
    """Artifact: what came of the input besides examples.

    A folder with `quarantine.jsonl`, `duplicates.jsonl` and `leaks.jsonl` (see `findings`), and
    `counts.jsonl`.
    """

    TYPE_NAME = "ctnet.Quarantine"


def json_line(values: dict[str, Any]) -> str:
    """A JSON object on one line; names of files may hold bytes that are no text, which it shows."""
    text = json.dumps(values, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


@dataclasses.dataclass(frozen=True)
class QuarantinedSlice:
    """One slice that is in no split, or one row of the manifest that gave no slice.

    Attributes:
      id: the slice's id.
      path: its file, as the manifest writes it.
      reason: a `transform.reading.Reason` code.
      detail: one line for a person.
      frame: which slice of its file, from 0; None for a file of one slice.
    """

    id: str
    path: str
    reason: str
    detail: str
    frame: int | None = None

    def to_json(self) -> str:
        """The slice as one line of the quarantine file."""
        values = dataclasses.asdict(self)
        if self.frame is None:
            del values["frame"]
        return json_line(values)


def read_quarantine(folder: Path) -> Iterator[QuarantinedSlice]:
    """The slices in a quarantine artifact's folder, one at a time."""
    with (folder / FILE_NAME).open(encoding="utf-8") as file:
        for line in file:
            yield QuarantinedSlice(**json.loads(line))
