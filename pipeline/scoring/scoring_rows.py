"""Scoring rows: what is to be scored, from manifests that need no label, or from a folder."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.ct_example_gen.spans import MANIFEST, ManifestFile, list_spans, resolve_manifests
from transform.errors import BadDataError
from transform.reading import Reason

PATH = "path"
PATIENT_ID = "patient_id"
LABEL = "label"

# The index of a DICOM file set (DICOM PS3.10 section 8.6) holds no slice.
_DICOM_INDEX = "DICOMDIR"


@dataclasses.dataclass(frozen=True)
class ScoringRow:
    """A file, a volume or a folder of one series.

    Attributes:
      position: among all rows, from 0; results keep this order.
      path: as it is called in results: as the manifest writes it, or relative to the folder.
      file: where that is.
      patient_id: as the manifest writes it; empty where it says nothing.
      label: likewise; it is passed on and not looked at.
      refused: why the row cannot be used at all; None where it can.
      detail: the same for a person.
    """

    position: int
    path: str
    file: str
    patient_id: str = ""
    label: str = ""
    refused: Reason | None = None
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class ScoringSource:
    """What a scoring reads.

    Attributes:
      manifests: to be read one after another; empty for a folder.
      folder: of files, without a manifest.
      rows: how many there are.
      labelled: whether a manifest has labels.
    """

    manifests: tuple[ManifestFile, ...] = ()
    folder: Path | None = None
    rows: int = 0
    labelled: bool = False


def find_source(data: Path, span: str) -> ScoringSource:
    """Look at what is to be scored, once, without opening a slice.

    Args:
      data: a manifest, a folder of spans, a folder with a `manifest.csv`, or a folder of files.
      span: which spans of a folder of them.

    Raises:
      BadDataError: there is nothing, or a manifest cannot be read or has no path column.
    """
    if data.is_dir() and not list_spans(data) and not (data / MANIFEST).is_file():
        source = ScoringSource(folder=data.resolve())
    elif data.is_dir() and not list_spans(data):
        source = ScoringSource((ManifestFile(data / MANIFEST),))
    else:
        source = ScoringSource(tuple(resolve_manifests(data, span)))
    rows, labelled = 0, False
    for row in read_rows(source):
        rows += 1
        labelled = labelled or bool(row.label)
    if not rows:
        raise BadDataError(f"{data}: names no file, so that there is nothing to score")
    return dataclasses.replace(source, rows=rows, labelled=labelled)


def read_rows(source: ScoringSource) -> Iterator[ScoringRow]:
    """All rows, one at a time, in their order.

    Raises:
      BadDataError: a manifest is missing, is not CSV text, or has no path column.
    """
    rows = _rows_of_folder(source.folder) if source.folder else _rows_of_manifests(source.manifests)
    for position, row in enumerate(rows):
        yield dataclasses.replace(row, position=position)


def _rows_of_manifests(manifests: Iterable[ManifestFile]) -> Iterator[ScoringRow]:
    for manifest in manifests:
        path = manifest.path
        try:
            # Spreadsheets begin a file with a byte-order mark.
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
                if PATH not in reader.fieldnames:
                    raise BadDataError(
                        f"{path}: no column {PATH}; the first line of a manifest to score is "
                        f"{PATH},{PATIENT_ID}, and {LABEL} where it is to stand in the results"
                    )
                for number, cells in enumerate(reader, start=1):
                    yield _row_of_cells(manifest, number, cells)
        except FileNotFoundError:
            raise BadDataError(f"{path}: no such manifest or folder") from None
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BadDataError(f"{path}: cannot be read as UTF-8 CSV: {error}") from None


def _row_of_cells(manifest: ManifestFile, number: int, cells: dict[str, str]) -> ScoringRow:
    path, patient_id, label = (
        (cells.get(name) or "").strip() for name in (PATH, PATIENT_ID, LABEL)
    )
    if not path:
        where = f"row {number}" + (f" of span {manifest.span}" if manifest.span else "")
        detail = f"{where} names no path"
        return ScoringRow(0, "", "", patient_id, label, Reason.MISSING_FILE, detail)
    # Joining leaves an absolute path as it is.
    named = os.path.join(manifest.prefix, path)  # noqa: PTH118
    return ScoringRow(0, named, str(manifest.path.parent / path), patient_id, label)


def _rows_of_folder(folder: Path) -> Iterator[ScoringRow]:
    """A row for each folder that holds a file, each before those within it."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if any(not name.startswith(".") and name.upper() != _DICOM_INDEX for name in files):
            relative = Path(where).relative_to(folder)
            # A name of a file need not be text, but what is written of it is.
            path = os.fsencode(relative).decode(errors="backslashreplace")
            yield ScoringRow(0, path, where)


def file_of(row: ScoringRow) -> bytes:
    """One name for a row's file, however it is spelled; bytes, because it need not be text."""
    return os.fsencode(os.path.normpath(row.file)) if row.file else b""


def refuse_repeated(file_and_rows: tuple[bytes, Iterable[ScoringRow]]) -> Iterator[ScoringRow]:
    """Rows of one file, of which only the first is to be read: a slice counts once."""
    file, rows = file_and_rows
    first, *others = sorted(rows, key=lambda row: row.position)
    yield first
    for row in others:
        if not file:
            yield row
            continue
        detail = f"row {row.position + 1} names the file of row {first.position + 1}"
        yield dataclasses.replace(row, refused=Reason.DUPLICATE_ID, detail=detail)
