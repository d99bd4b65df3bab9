"""The manifest: a CSV with one row a slice."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

from transform.errors import BadDataError

REQUIRED_COLUMNS = ("path", "label", "patient_id")
OPTIONAL_COLUMNS = ("split", "age", "sex", "source", "study_date")


@dataclasses.dataclass(frozen=True)
class ManifestRow:
    """One row as it is written, cells stripped; empty where the manifest has no such cell.

    `number` counts data rows from 1. The slice's id is `path` as the manifest writes it.
    """

    number: int
    path: str
    label: str
    patient_id: str
    split: str = ""
    age: str = ""
    sex: str = ""
    source: str = ""
    study_date: str = ""

    @property
    def image_id(self) -> str:
        """What the slice is called everywhere: its path as the manifest writes it."""
        return self.path


@dataclasses.dataclass(frozen=True)
class ManifestFacts:
    """What one pass over a manifest tells.

    Attributes:
      rows: number of data rows.
      rows_with_split: how many of them name a split.
      fingerprint: changes when the manifest, or the size or modification time of a file that it
        names, does.
    """

    rows: int
    rows_with_split: int
    fingerprint: str


def read_manifest(path: Path) -> Iterator[ManifestRow]:
    """The rows of a manifest, one at a time; columns that ctnet does not know are left alone.

    Raises:
      BadDataError: the file is missing, is not CSV text, or lacks a required column.
    """
    try:
        # A byte-order mark is what spreadsheets write; utf-8-sig takes it off.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [column.strip() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            missing = [column for column in REQUIRED_COLUMNS if column not in columns]
            if missing:
                raise BadDataError(
                    f"{path}: no column {', '.join(missing)}; a manifest's first line is "
                    f"{','.join(REQUIRED_COLUMNS)} and any of {','.join(OPTIONAL_COLUMNS)}"
                )
            for number, cells in enumerate(reader, start=1):
                yield ManifestRow(
                    number=number,
                    **{
                        name: (cells.get(name) or "").strip()
                        for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
                    },
                )
    except FileNotFoundError:
        raise BadDataError(f"{path}: no such manifest; give one with --data") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadDataError(f"{path}: cannot be read as UTF-8 CSV: {error}") from None


def resolve_path(row: ManifestRow, manifest: Path) -> Path:
    """Where a row's file is: its path as it stands, or relative to the manifest's folder."""
    return manifest.parent / row.path


def survey_manifest(path: Path) -> ManifestFacts:
    """One pass over a manifest: how many rows it has, and a fingerprint of all that it names.

    Files count by size and modification time, not by content, so that the pass stays cheap.

    Raises:
      BadDataError: as `read_manifest`, or when the manifest has no row.
    """
    digest = hashlib.sha256(str(path.resolve().parent).encode())
    rows = rows_with_split = 0
    for row in read_manifest(path):
        rows += 1
        rows_with_split += bool(row.split)
        digest.update(repr(dataclasses.astuple(row)).encode())
        try:
            status = resolve_path(row, path).stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        except (OSError, ValueError):
            digest.update(b"missing\n")
    if rows == 0:
        raise BadDataError(f"{path}: the manifest has no row, so there is nothing to train on")
    return ManifestFacts(rows, rows_with_split, digest.hexdigest())
