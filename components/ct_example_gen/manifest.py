"""The manifest: a CSV with one row a slice, a folder or a volume."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence

from components.ct_example_gen.spans import ManifestFile
from transform.errors import BadDataError

REQUIRED_COLUMNS = ("path", "label", "patient_id")
OPTIONAL_COLUMNS = ("split", "age", "sex", "source", "study_date")


@dataclasses.dataclass(frozen=True)
class ManifestRow:
    """One row as it is written, cells stripped; empty where the manifest has no such cell.

    Attributes:
      number: of the data row, from 1.
      path: as the manifest writes it; below its span's folder where there are spans, so that it
        is relative to what was given as data, or absolute; `reference:/` comes first where it is
        relative to the folder of the reference set's manifest.
      file: where that is.
      span: the row's span, empty where there are none.
      reference: whether the row is of the reference set.
      label: `path` to `study_date` are the cells.
    """

    number: int
    path: str
    file: str
    label: str
    patient_id: str
    span: str = ""
    reference: bool = False
    split: str = ""
    age: str = ""
    sex: str = ""
    source: str = ""
    study_date: str = ""


@dataclasses.dataclass(frozen=True)
class ManifestFacts:
    """What one pass over the manifests of a run tells.

    Attributes:
      rows: number of data rows.
      rows_with_split: how many of them name a split; those of the reference set do not count.
      bytes: size of all files that they name.
      fingerprint: changes when a manifest, or the size or modification time of a file that it
        names, does.
    """

    rows: int
    rows_with_split: int
    bytes: int
    fingerprint: str


def read_manifest(manifest: ManifestFile) -> Iterator[ManifestRow]:
    """The rows of a manifest, one at a time; columns that ctnet does not know are left alone.

    Raises:
      BadDataError: the file is missing, is not CSV text, or lacks a required column.
    """
    path = manifest.path
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
                values = {
                    name: (cells.get(name) or "").strip()
                    for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
                }
                file_path = str(path.parent / values["path"])
                # os.path.join leaves an absolute path as it is.
                if values["path"]:
                    values["path"] = os.path.join(manifest.prefix, values["path"])  # noqa: PTH118
                yield ManifestRow(
                    number=number,
                    file=file_path,
                    span=manifest.span,
                    reference=manifest.reference,
                    **values,
                )
    except FileNotFoundError:
        raise BadDataError(f"{path}: no such manifest") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadDataError(f"{path}: cannot be read as UTF-8 CSV: {error}") from None


def _sizes_and_times(path: str) -> Iterator[tuple[int, int]]:
    """Size and modification time (ns) of a file, or of what a folder holds."""
    status = os.stat(path)  # noqa: PTH116
    yield status.st_size, status.st_mtime_ns
    if os.path.isdir(path):  # noqa: PTH112
        for entry in sorted(os.scandir(path), key=lambda one: one.name):
            status = entry.stat()
            yield status.st_size, status.st_mtime_ns


def survey_manifests(manifests: Sequence[ManifestFile]) -> ManifestFacts:
    """One pass over the manifests of a run: how much they name, and a fingerprint of all of it.

    Files count by size and modification time, not by content, so that the pass stays cheap.

    Raises:
      BadDataError: as `read_manifest`, or when there is no row at all.
    """
    digest = hashlib.sha256()
    rows = rows_with_split = size = 0
    for manifest in manifests:
        digest.update(str(manifest.path.resolve().parent).encode())
        for row in read_manifest(manifest):
            rows += 1
            rows_with_split += bool(row.split) and not row.reference
            digest.update(repr(dataclasses.astuple(row)).encode())
            try:
                for one_size, modified in _sizes_and_times(row.file):
                    size += one_size
                    digest.update(f"{one_size} {modified}\n".encode())
            except (OSError, ValueError):
                digest.update(b"missing\n")
    if rows == 0:
        where = ", ".join(str(manifest.path) for manifest in manifests)
        raise BadDataError(f"{where}: the manifest has no row")
    return ManifestFacts(rows, rows_with_split, size, digest.hexdigest())
