"""Part files: rows of results as workers leave them, to be read again in their order."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.scoring.scored_slice import Part, Place

SLICES = "slices"
PATIENTS = "patients"
QUARANTINE = "quarantine"
COUNTS = "counts"
PROGRESS = "progress"
FOLDERS = (SLICES, PATIENTS, QUARANTINE, COUNTS, PROGRESS)

Record = dict[str, Any]


def write_part(part_and_rows: tuple[Part, Iterable[tuple[Place, Record]]], folder: str) -> None:
    """Write the rows of a part in the order of their places; a part that is there is whole."""
    (shard, part), rows = part_and_rows
    target = Path(folder) / f"{shard:012d}-{part:06d}.jsonl"
    # A worker may be started twice on the same part.
    unfinished = target.with_name(f".{uuid.uuid4().hex}")
    with unfinished.open("w", encoding="utf-8") as file:
        for _, record in sorted(rows, key=lambda row: row[0]):
            file.write(json.dumps(record) + "\n")
    unfinished.replace(target)


def read_parts(folder: Path) -> Iterator[Record]:
    """All rows of a folder of parts, in the order of their places, one at a time."""
    for file in sorted(folder.glob("*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
