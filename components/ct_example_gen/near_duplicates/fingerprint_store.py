"""Fingerprints on disk, where those of candidate pairs are fetched from.

They are small, but each slice has several candidates: sent through a runner that keeps groups in
memory, they would take more of it than all else.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import struct
import uuid
from types import TracebackType
from typing import Self

import tensorflow as tf

from components.ct_example_gen.near_duplicates.fingerprint import HASH_SIZE, Fingerprint
from components.ct_example_gen.near_duplicates.thumbnail import SIDE

PLACE_BYTES = 12
"""Of a place: big-endian shard, file and row, so that places sort as they are stored."""

_PLACE = struct.Struct(">III")
_FILE = struct.Struct(">II")
_RECORD_BYTES = HASH_SIZE + SIDE * SIDE
# A file of so many slices is 6 MB.
_SLICES_A_FILE = 4096
_FILES_IN_MEMORY = 8


def file_of(place: bytes) -> bytes:
    """What places in one file have in common."""
    return place[: _FILE.size]


def _path(folder: str, file: bytes) -> str:
    shard, number = _FILE.unpack(file)
    return f"{folder}/fingerprints-{shard:05d}-{number:05d}"


class FingerprintWriter:
    """Writes the fingerprints of a shard; use it as a context manager.

    Files appear whole or not at all, and those of a shard that is written twice are the same.
    """

    def __init__(self, folder: str, shard: int):
        """Say where.

        Args:
          folder: made where missing.
          shard: written by nobody else at the same time with other content.
        """
        self._folder = folder
        self._shard = shard
        self._files = 0
        self._ids: list[str] = []
        self._records: list[bytes] = []

    def __enter__(self) -> Self:
        tf.io.gfile.makedirs(self._folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()

    def add(self, slice_id: str, fingerprint: Fingerprint) -> bytes:
        """Take one slice.

        Returns:
          Its place, PLACE_BYTES bytes.
        """
        if len(self._ids) == _SLICES_A_FILE:
            self._flush()
        self._ids.append(slice_id)
        self._records.append(fingerprint.hash + fingerprint.thumbnail)
        return _PLACE.pack(self._shard, self._files, len(self._ids) - 1)

    def _flush(self) -> None:
        if not self._ids:
            return
        unfinished = f"{self._folder}/.{uuid.uuid4().hex}"
        with tf.io.gfile.GFile(unfinished, "wb") as file:
            ids = json.dumps(self._ids).encode()
            file.write(struct.pack(">Q", len(ids)) + ids + b"".join(self._records))
        path = _path(self._folder, _FILE.pack(self._shard, self._files))
        tf.io.gfile.rename(unfinished, path, overwrite=True)
        self._files += 1
        self._ids, self._records = [], []


@dataclasses.dataclass(frozen=True)
class _File:
    ids: list[str]
    records: bytes


class FingerprintReader:
    """Fetches fingerprints by their places, a few files at a time in memory."""

    def __init__(self, folder: str):
        """Say where the writers wrote."""
        self._folder = folder
        self._files: collections.OrderedDict[bytes, _File] = collections.OrderedDict()

    def fetch(self, place: bytes) -> tuple[str, Fingerprint]:
        """The slice id and the fingerprint at a place.

        Raises:
          tf.errors.OpError: there is no such file.
        """
        _, _, row = _PLACE.unpack(place)
        file = self._open(file_of(place))
        record = file.records[row * _RECORD_BYTES : (row + 1) * _RECORD_BYTES]
        return file.ids[row], Fingerprint(record[:HASH_SIZE], record[HASH_SIZE:])

    def _open(self, name: bytes) -> _File:
        if name in self._files:
            self._files.move_to_end(name)
            return self._files[name]
        with tf.io.gfile.GFile(_path(self._folder, name), "rb") as file:
            content = file.read()
        (length,) = struct.unpack_from(">Q", content)
        ids = json.loads(content[8 : 8 + length])
        self._files[name] = _File(ids, content[8 + length :])
        while len(self._files) > _FILES_IN_MEMORY:
            self._files.popitem(last=False)
        return self._files[name]
