"""How `ctnet predict` writes its results: as a table, JSON lines, CSV, or one JSON list."""

from __future__ import annotations

import csv
import enum
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TextIO

from rich.console import Console
from rich.table import Table

from transform.printable import printable

Record = Mapping[str, str | int | float | None]
"""One result, by the names of its columns."""

SLICE_COLUMNS = ("path", "slice", "patient", "probability", "decision", "threshold", "error")
PATIENT_COLUMNS = (
    "path",
    "patient",
    "probability",
    "decision",
    "threshold",
    "slices",
    "failed",
    "series",
)
OVERLAY = "overlay"
"""One more column of slices that were explained."""

# More than any row takes, in characters.
_UNBOUNDED_WIDTH = 1_000_000


class OutputFormat(enum.StrEnum):
    """The choices of `--format`."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"


JSON = "json"
"""One list when all is done; what `--json` asks for."""

# How the four formats begin, for slices and for patients. The second column tells them from
# manifests, which begin with a path, too.
_FIRST_FIELDS = r'\{\s*"path": "(?:[^"\\]|\\.)*",\s*"(?:slice|patient)": '
_BEGINNING = re.compile(
    r"|".join(
        (
            re.escape(",".join(SLICE_COLUMNS)),
            re.escape(",".join(PATIENT_COLUMNS)),
            _FIRST_FIELDS,
            r"\[\s*" + _FIRST_FIELDS,
            r"(?:file|file +patient|path +patient) +probability +decision +threshold",
        )
    )
)


def looks_like_results(head: str) -> bool:
    """Whether a file that begins with this is one that was written here, in whichever format.

    Args:
      head: its beginning, longer than a path.
    """
    return _BEGINNING.match(head) is not None


class RecordWriter(Protocol):
    """Writes records of one kind."""

    def add(self, record: Record) -> None:
        """Take a record."""

    def finish(self) -> None:
        """Write what waits for the end."""


class JsonLines:
    """An object a line, each written as it comes."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def add(self, record: Record) -> None:
        """Write a line."""
        self._stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._stream.flush()

    def finish(self) -> None:
        """Nothing is left to write."""


class CsvRows:
    """A header and a row a record, each written as it comes; what is unknown is empty."""

    def __init__(self, stream: TextIO, columns: Sequence[str]):
        self._stream = stream
        self._writer = csv.DictWriter(stream, columns, lineterminator="\n")
        self._begun = False

    def add(self, record: Record) -> None:
        """Write a row."""
        self._begin()
        self._writer.writerow(record)
        self._stream.flush()

    def finish(self) -> None:
        """Write the header, where there was no row."""
        self._begin()

    def _begin(self) -> None:
        if not self._begun:
            self._writer.writeheader()
            self._begun = True


class JsonList:
    """One list of all records."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._records: list[Record] = []

    def add(self, record: Record) -> None:
        """Keep the record."""
        self._records.append(record)

    def finish(self) -> None:
        """Write the list."""
        self._stream.write(json.dumps(self._records, indent=2, ensure_ascii=False) + "\n")
        self._stream.flush()


class RecordTable:
    """A table for people of the records that have a probability."""

    def __init__(
        self, stream: TextIO, columns: Sequence[str], cells: Callable[[Record], Sequence[str]]
    ):
        """Describe the table.

        Args:
          stream: where it is written.
          columns: its headings.
          cells: a record's row.
        """
        self._stream = stream
        self._cells = cells
        self._table = Table(box=None, pad_edge=False)
        for column in columns:
            self._table.add_column(column, overflow="fold")

    def add(self, record: Record) -> None:
        """Keep the record's row."""
        if record["probability"] is not None:
            self._table.add_row(*map(printable, self._cells(record)))

    def finish(self) -> None:
        """Write the table."""
        # A path that is broken in two is no use to the program at the other end of a pipe.
        width = None if self._stream.isatty() else _UNBOUNDED_WIDTH
        # Paths may hold what Rich would take for markup.
        Console(file=self._stream, markup=False, emoji=False, width=width).print(self._table)


def _figures(record: Record) -> list[str]:
    return [
        f"{record['probability']:.4f}",
        "positive" if record["decision"] else "negative",
        f"{record['threshold']:.4f}",
    ]


def slice_name(record: Record) -> str:
    """The file of a slice's record, with the slice's number where the file has several."""
    return str(record["path"]) if record["slice"] is None else f"{record['path']}#{record['slice']}"


def _slice_cells(record: Record) -> list[str]:
    return [slice_name(record), *_figures(record)]


def _slice_cells_with_patient(record: Record) -> list[str]:
    return [slice_name(record), str(record["patient"]), *_figures(record)]


def _patient_cells(record: Record) -> list[str]:
    return [
        str(record["path"]),
        str(record["patient"]),
        *_figures(record),
        *(str(record[name]) for name in ("slices", "failed")),
    ]


def _writer(form: str, stream: TextIO, columns: Sequence[str], table: RecordTable) -> RecordWriter:
    if form == OutputFormat.JSONL:
        return JsonLines(stream)
    if form == OutputFormat.CSV:
        return CsvRows(stream, columns)
    return JsonList(stream) if form == JSON else table


def slice_writer(
    form: str, stream: TextIO, *, explained: bool = False, patients: bool = False
) -> RecordWriter:
    """Writes records of SLICE_COLUMNS, and OVERLAY where they are explained.

    Args:
      form: an OutputFormat, or JSON.
      stream: where to write.
      explained: whether the records name overlays.
      patients: whether a table names patients, too; data always do.
    """
    figures = ("probability", "decision", "threshold")
    if patients:
        table = RecordTable(stream, ("file", "patient", *figures), _slice_cells_with_patient)
    else:
        table = RecordTable(stream, ("file", *figures), _slice_cells)
    return _writer(form, stream, (*SLICE_COLUMNS, *([OVERLAY] if explained else [])), table)


def patient_writer(form: str, stream: TextIO) -> RecordWriter:
    """Writes records of PATIENT_COLUMNS.

    Args:
      form: an OutputFormat, or JSON.
      stream: where to write.
    """
    headings = PATIENT_COLUMNS[: PATIENT_COLUMNS.index("failed") + 1]
    return _writer(form, stream, PATIENT_COLUMNS, RecordTable(stream, headings, _patient_cells))
