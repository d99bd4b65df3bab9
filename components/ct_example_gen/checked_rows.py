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
from transform.ct_example import EVAL, SPLITS, TEST, TRAIN
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
    r"[+-]?\d{1,2}(\.\d{1,2})?|train|eval|test|val|valid|validation|dev|training|testing|"
    r"positive|negative|true|false|yes|no|covid|normal|unknown|na|nan|none|",
    re.ASCII | re.IGNORECASE,
)


def _shown(cell: str) -> str:
    return f" {cell!r}" if _HARMLESS.fullmatch(cell) else ""


def _row_name(row: ManifestRow) -> str:
    if row.reference:
        return f"row {row.number} of the reference set"
    return f"row {row.number}" + (f" of span {row.span}" if row.span else "")


def _bad_split(row: ManifestRow, split_given: bool, reference_given: bool) -> str | None:
    """What is wrong with the split that a row names, None where nothing is."""
    said = f"{_row_name(row)} has split{_shown(row.split)}"
    if row.reference:
        if row.split in ("", TEST):
            return None
        return f"{said}; the reference set is the test split, whole"
    if not split_given:
        return None
    if reference_given and row.split not in (TRAIN, EVAL):
        return f"{said}; it must be {TRAIN} or {EVAL}, because split.reference is the test split"
    if row.split not in SPLITS:
        return f"{said}; it must be one of {', '.join(SPLITS)}"
    return None


class _CheckCells(beam.DoFn):
    """Pass rows whose cells can be used, under their patients' hashes."""

    def __init__(
        self,
        split_given: bool,
        reference_given: bool,
        labelled: bool,
        key_reference: str | None,
    ):
        self._split_given = split_given
        self._reference_given = reference_given
        self._labelled = labelled
        self._key_reference = key_reference
        self._key: bytes | None = None

    def setup(self) -> None:
        if self._key_reference is not None:
            self._key = load_key(self._key_reference)

    def process(self, row: ManifestRow) -> Iterator[CheckedRow | beam.pvalue.TaggedOutput]:
        bad_split = _bad_split(row, self._split_given, self._reference_given)
        yield from _check_cells(row, bad_split, self._labelled, self._key)


def _check_cells(
    row: ManifestRow, bad_split: str | None, labelled: bool, key: bytes | None
) -> Iterator[CheckedRow | beam.pvalue.TaggedOutput]:
    where = _row_name(row)
    if not row.path:
        yield to_quarantine(row.path, row.path, Reason.MISSING_FILE, f"{where} names no path")
    elif labelled and row.label not in ("0", "1"):
        detail = f"{where} has label{_shown(row.label)}; it must be 1 (positive) or 0"
        yield to_quarantine(row.path, row.path, Reason.BAD_LABEL, detail)
    elif labelled and not row.patient_id:
        yield to_quarantine(row.path, row.path, Reason.NO_PATIENT, f"{where} names no patient_id")
    elif bad_split:
        yield to_quarantine(row.path, row.path, Reason.BAD_SPLIT, bad_split)
    elif not row.patient_id:
        yield CheckedRow(row, "")
    else:
        shown = row.patient_id if key is None else pseudonym(row.patient_id, key)
        yield CheckedRow(dataclasses.replace(row, patient_id=shown), split_digest(row.patient_id))


def _file_of(row: CheckedRow) -> bytes:
    """One name for a row's file, however it is spelled; bytes, because it need not be text."""
    return os.fsencode(os.path.normpath(row.cells.file))


def _names_of(row: CheckedRow, first: CheckedRow) -> str:
    same = (first.cells.span, first.cells.reference) == (row.cells.span, row.cells.reference)
    return f"row {first.cells.number}" if same else _row_name(first.cells)


def _why_not_again(row: CheckedRow, first: CheckedRow) -> Reason:
    only_first = first.cells.reference and not row.cells.reference
    return Reason.IN_REFERENCE if only_first else Reason.DUPLICATE_ID


def _keep_first_of_a_file(
    file_and_rows: tuple[bytes, Iterable[CheckedRow]],
) -> Iterator[CheckedRow | beam.pvalue.TaggedOutput]:
    def place(row: CheckedRow) -> tuple[bool, int, int]:
        return not row.cells.reference, int(row.cells.span or 0), row.cells.number

    first, *others = sorted(file_and_rows[1], key=place)
    yield first
    for row in others:
        detail = f"row {row.cells.number} names the file of {_names_of(row, first)}"
        reason = _why_not_again(row, first)
        yield to_quarantine(row.cells.path, row.cells.path, reason, detail)


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
    # A folder of the data takes no slice from the reference set: that the folder holds a copy of
    # the slice is seen when all slices are compared.
    if whole is None or (row.cells.reference and not whole.cells.reference):
        yield row
    else:
        detail = (
            f"row {row.cells.number} names a file in the folder that {_names_of(row, whole)} names"
        )
        reason = _why_not_again(row, whole)
        yield to_quarantine(row.cells.path, row.cells.path, reason, detail)


@beam.ptransform_fn
def ReadCheckedRows(  # noqa: N802 Beam names transforms so
    pipeline: beam.Pipeline,
    manifests: Sequence[ManifestFile],
    rows: Sequence[ManifestRow],
    split_given: bool,
    reference_given: bool,
    labelled: bool,
    key_reference: str | None,
) -> tuple[beam.PCollection, beam.PCollection]:
    """Read the manifests' rows.

    Args:
      pipeline: the pipeline.
      manifests: what to read.
      rows: more rows, of no manifest.
      split_given: whether a row of the data must name its split.
      reference_given: whether the test split is a reference set, so that no row of the data may be
        in it.
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
        >> beam.ParDo(
            _CheckCells(split_given, reference_given, labelled, key_reference)
        ).with_outputs(QUARANTINED, main="rows")
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
