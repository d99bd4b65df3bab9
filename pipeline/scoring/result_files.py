"""Result files: CSV and Parquet of slices and patients, under their names only when whole."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from pyarrow import parquet

from transform.errors import ConfigError
from transform.whole_file import UNFINISHED

CSV = ".csv"
PARQUET = ".parquet"
SUFFIXES = (CSV, PARQUET)

SLICE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("slice", pa.int64()),
        ("patient_id", pa.string()),
        ("probability", pa.float32()),
        ("decision", pa.int64()),
        ("threshold", pa.float32()),
        ("version", pa.string()),
    ]
)
LABEL_FIELD = pa.field("label", pa.string())
"""One more column of slices, where the manifest has labels."""
PATIENT_SCHEMA = pa.schema(
    [
        ("patient_id", pa.string()),
        ("probability", pa.float64()),
        ("decision", pa.int64()),
        ("threshold", pa.float32()),
        ("slices", pa.int64()),
        ("quarantined", pa.int64()),
        ("version", pa.string()),
    ]
)

_ROWS_A_GROUP = 4096


class _Rows(Protocol):
    def add(self, record: dict[str, Any]) -> None:
        """Take a row."""


class _CsvRows:
    def __init__(self, path: Path, schema: pa.Schema, stack: contextlib.ExitStack):
        file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        names = schema.names
        # What the schema leaves out is left out here as well.
        self._writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        self._writer.writeheader()

    def add(self, record: dict[str, Any]) -> None:
        self._writer.writerow(record)


class _ParquetRows:
    def __init__(self, path: Path, schema: pa.Schema, stack: contextlib.ExitStack):
        self._schema = schema
        self._waiting: list[dict[str, Any]] = []
        self._writer = stack.enter_context(parquet.ParquetWriter(path, schema))
        stack.callback(self._write)

    def add(self, record: dict[str, Any]) -> None:
        self._waiting.append(record)
        if len(self._waiting) == _ROWS_A_GROUP:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, self._schema))
            self._waiting = []


def unfinished(path: Path) -> Path:
    """Where a file is written that gets its name when it is whole."""
    return path.with_name(f".{path.name}{UNFINISHED}")


def check_suffix(path: Path) -> None:
    """Refuse what is neither CSV nor Parquet.

    Raises:
      ConfigError: it has another suffix.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out {path}: must end in {' or '.join(SUFFIXES)}")


@contextlib.contextmanager
def written_rows(paths: Sequence[Path], schema: pa.Schema) -> Iterator[list[_Rows]]:
    """Writers of the same rows to several files, which are whole when the context is left.

    They are written under `unfinished` names; giving them theirs is left to the caller.

    Args:
      paths: the files, by suffix CSV or Parquet.
      schema: the columns.
    """
    with contextlib.ExitStack() as stack:
        writers: list[_Rows] = []
        for path in paths:
            kind = _CsvRows if path.suffix.lower() == CSV else _ParquetRows
            writers.append(kind(unfinished(path), schema, stack))
        yield writers
