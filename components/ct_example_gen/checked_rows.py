"""Which rows of the manifests can be used at all, before any file of theirs is opened."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam

from components.ct_example_gen.manifest import ManifestRow, read_manifest
from components.ct_example_gen.patient_ids import load_key, pseudonym
from components.ct_example_gen.slice_record import QUARANTINED, to_quarantine
from components.ct_example_gen.spans import ManifestFile
from components.ct_example_gen.splitting import split_digest
from transform.ct_example import SPLITS
from transform.reading import Reason


@dataclasses.dataclass(frozen=True)
class CheckedRow:
    """A row whose cells can be used.

    Attributes:
      cells: the row; its `patient_id` is what is written everywhere.
      patient_digest: `splitting.split_digest` of the patient's own id, empty where unknown.
    """

    cells: ManifestRow
    patient_digest: str


# What people write instead of the codes; nothing else is repeated in a detail, because a column
# that has slipped holds names and dates.
_HARMLESS = re.compile(
    r"[+-]?\d{1,2}(\.\d{1,2})?|val|valid|validation|dev|training|testing|positive|negative|true|"
    r"false|yes|no|covid|normal|unknown|na|nan|none|",
    re.ASCII | re.IGNORECASE,
)


def _shown(cell: str) -> str:
    return f" {cell!r}" if _HARMLESS.fullmatch(cell) else ""


class _CheckCells(beam.DoFn):
    """Pass rows whose cells can be used, under their patients' hashes."""

    def __init__(self, split_given: bool, labelled: bool, key_reference: str | None):
        self._split_given = split_given
        self._labelled = labelled
        self._key_reference = key_reference
        self._key: bytes | None = None

    def setup(self) -> None:
        if self._key_reference is not None:
            self._key = load_key(self._key_reference)

    def process(self, row: ManifestRow) -> Iterator[CheckedRow | beam.pvalue.TaggedOutput]:
        yield from _check_cells(row, self._split_given, self._labelled, self._key)


def _check_cells(
    row: ManifestRow, split_given: bool, labelled: bool, key: bytes | None
) -> Iterator[CheckedRow | beam.pvalue.TaggedOutput]:
    where = f"row {row.number}" + (f" of span {row.span}" if row.span else "")
    if not row.path:
        yield to_quarantine(row.path, row.path, Reason.MISSING_FILE, f"{where} names no path")
    elif labelled and row.label not in ("0", "1"):
        detail = f"{where} has label{_shown(row.label)}; it must be 1 (positive) or 0"
        yield to_quarantine(row.path, row.path, Reason.BAD_LABEL, detail)
    elif labelled and not row.patient_id:
        yield to_quarantine(row.path, row.path, Reason.NO_PATIENT, f"{where} names no patient_id")
    elif split_given and row.split not in SPLITS:
        detail = f"{where} has split{_shown(row.split)}; it must be one of {', '.join(SPLITS)}"
        yield to_quarantine(row.path, row.path, Reason.BAD_SPLIT, detail)
    elif not row.patient_id:
        yield CheckedRow(row, "")
    else:
        shown = row.patient_id if key is None else pseudonym(row.patient_id, key)
        yield CheckedRow(dataclasses.replace(row, patient_id=shown), split_digest(row.patient_id))


def _file_of(row: CheckedRow) -> bytes:
    """One name for a row's file, however it is spelled; bytes, because it need not be text."""
    return os.fsencode(os.path.normpath(row.cells.file))


def _names_of(row: CheckedRow, first: CheckedRow) -> str:
    name = f"row {first.cells.number}"
    return name if first.cells.span == row.cells.span else f"{name} of span {first.cells.span}"


def _keep_first_of_a_file(
    file_and_rows: tuple[bytes, Iterable[CheckedRow]],
) -> Iterator[CheckedRow | beam.pvalue.TaggedOutput]:
    def place(row: CheckedRow) -> tuple[int, int]:
        return int(row.cells.span or 0), row.cells.number

    first, *others = sorted(file_and_rows[1], key=place)
    yield first
    for row in others:
        detail = f"row {row.cells.number} names the file of {_names_of(row, first)}"
        yield to_quarantine(row.cells.path, row.cells.path, Reason.DUPLICATE_ID, detail)


def _folders(row: CheckedRow) -> Iterator[tuple[bytes, CheckedRow]]:
    file = _file_of(row)
    # ValueError: no system takes the name for one of a file.
    with contextlib.suppress(ValueError):
        if os.path.isdir(file):  # noqa: PTH112
            yield file, row


def _refuse_files_of_folders(
    row: CheckedRow, folders: Mapping[bytes, CheckedRow]
) -> Iterator[CheckedRow | beam.pvalue.TaggedOutput]:
    """Pass a row unless its file comes with a folder that is a row too."""
    whole = folders.get(os.path.dirname(_file_of(row)))  # noqa: PTH120
    if whole is None:
        yield row
    else:
        detail = (
            f"row {row.cells.number} names a file in the folder that {_names_of(row, whole)} names"
        )
        yield to_quarantine(row.cells.path, row.cells.path, Reason.DUPLICATE_ID, detail)


@beam.ptransform_fn
def ReadCheckedRows(  # noqa: N802 Beam names transforms so
    pipeline: beam.Pipeline,
    manifests: Sequence[ManifestFile],
    rows: Sequence[ManifestRow],
    split_given: bool,
    labelled: bool,
    key_reference: str | None,
) -> tuple[beam.PCollection, beam.PCollection]:
    """Read the manifests' rows.

    Args:
      pipeline: the pipeline.
      manifests: what to read.
      rows: more rows, of no manifest.
      split_given: whether a row must name its split.
      labelled: whether a row must name its label and patient.
      key_reference: where the key of the patient ids' hashes is, None where ids are kept.

    Returns:
      CheckedRow, each file once however it is spelled; and QuarantinedSlice.
    """
    read = (
        pipeline
        | "Manifests" >> beam.Create(list(manifests), reshuffle=False)
        | "ReadRows" >> beam.FlatMap(read_manifest)
    )
    more = pipeline | "OtherRows" >> beam.Create(list(rows), reshuffle=False)
    checked = (
        (read, more)
        | "AllRows" >> beam.Flatten()
        | "CheckCells"
        >> beam.ParDo(_CheckCells(split_given, labelled, key_reference)).with_outputs(
            QUARANTINED, main="rows"
        )
    )
    unique = (
        checked.rows
        | "KeyByFile" >> beam.WithKeys(_file_of)
        | "GroupByFile" >> beam.GroupByKey()
        | "KeepFirstOfAFile"
        >> beam.FlatMap(_keep_first_of_a_file).with_outputs(QUARANTINED, main="rows")
    )
    folders = unique.rows | "Folders" >> beam.FlatMap(_folders)
    once = unique.rows | "RefuseFilesOfFolders" >> beam.FlatMap(
        _refuse_files_of_folders, beam.pvalue.AsDict(folders)
    ).with_outputs(QUARANTINED, main="rows")
    quarantined = (
        checked[QUARANTINED],
        unique[QUARANTINED],
        once[QUARANTINED],
    ) | beam.Flatten()
    return once.rows, quarantined
