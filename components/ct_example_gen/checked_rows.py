"""Which rows of the manifests can be used at all, before any file of theirs is opened."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam

from components.ct_example_gen.manifest import ManifestRow, read_manifest
from components.ct_example_gen.patient_ids import pseudonym
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


def _check_cells(
    row: ManifestRow, split_given: bool, labelled: bool, key: bytes | None
) -> Iterator[CheckedRow | beam.pvalue.TaggedOutput]:
    where = f"row {row.number}" + (f" of span {row.span}" if row.span else "")
    if not row.path:
        yield to_quarantine(row.path, row.path, Reason.MISSING_FILE, f"{where} names no path")
    elif labelled and row.label not in ("0", "1"):
        detail = f"{where} has label {row.label!r}; it must be 1 (positive) or 0"
        yield to_quarantine(row.path, row.path, Reason.BAD_LABEL, detail)
    elif labelled and not row.patient_id:
        yield to_quarantine(row.path, row.path, Reason.NO_PATIENT, f"{where} names no patient_id")
    elif split_given and row.split not in SPLITS:
        detail = f"{where} has split {row.split!r}; it must be one of {', '.join(SPLITS)}"
        yield to_quarantine(row.path, row.path, Reason.BAD_SPLIT, detail)
    elif not row.patient_id:
        yield CheckedRow(row, "")
    else:
        shown = row.patient_id if key is None else pseudonym(row.patient_id, key)
        yield CheckedRow(dataclasses.replace(row, patient_id=shown), split_digest(row.patient_id))


def _keep_first_of_a_file(
    file_and_rows: tuple[str, Iterable[CheckedRow]],
) -> Iterator[CheckedRow | beam.pvalue.TaggedOutput]:
    def place(row: CheckedRow) -> tuple[int, int]:
        return int(row.cells.span or 0), row.cells.number

    first, *others = sorted(file_and_rows[1], key=place)
    yield first
    for row in others:
        detail = f"row {row.cells.number} names the file of row {first.cells.number}"
        if first.cells.span != row.cells.span:
            detail += f" of span {first.cells.span}"
        yield to_quarantine(row.cells.path, row.cells.path, Reason.DUPLICATE_ID, detail)


@beam.ptransform_fn
def ReadCheckedRows(  # noqa: N802 Beam names transforms so
    pipeline: beam.Pipeline,
    manifests: Sequence[ManifestFile],
    rows: Sequence[ManifestRow],
    split_given: bool,
    labelled: bool,
    key: bytes | None,
) -> tuple[beam.PCollection, beam.PCollection]:
    """Read the manifests' rows.

    Args:
      pipeline: the pipeline.
      manifests: what to read.
      rows: more rows, of no manifest.
      split_given: whether a row must name its split.
      labelled: whether a row must name its label and patient.
      key: of the patient ids' hashes, None where ids are kept.

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
        >> beam.FlatMap(_check_cells, split_given, labelled, key).with_outputs(
            QUARANTINED, main="rows"
        )
    )
    unique = (
        checked.rows
        | "KeyByFile" >> beam.WithKeys(lambda row: os.path.normpath(row.cells.file))
        | "GroupByFile" >> beam.GroupByKey()
        | "KeepFirstOfAFile"
        >> beam.FlatMap(_keep_first_of_a_file).with_outputs(QUARANTINED, main="rows")
    )
    quarantined = (checked[QUARANTINED], unique[QUARANTINED]) | beam.Flatten()
    return unique.rows, quarantined
