"""A deflated data set (DICOM PS3.5 A.5), inflated while it is read and never held as a whole.

A few kilobytes can inflate to gigabytes. What is stepped over here is inflated in small pieces and
forgotten, and a data set that becomes larger than any CT is refused.
"""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO

from transform.reading.dicom_elements import DamagedDicomError

# A thousand slices of 512 x 512 in 16 bit.
MAX_INFLATED_BYTES = 1 << 29

_PIECE = 1 << 16


class DeflatedSource(io.RawIOBase):
    """Reads a deflated data set forwards; going back begins anew."""

    def __init__(self, file: BinaryIO):
        """Inflate `file` from where it stands to its end."""
        self._file = file
        self._start = file.tell()
        self._restart()

    def _restart(self) -> None:
        self._file.seek(self._start)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._piece = memoryview(b"")
        self._piece_start = 0
        self._position = 0

    def _next_piece(self) -> bool:
        """Replace the piece by the one after it; False at the end."""
        self._piece_start += len(self._piece)
        if self._piece_start > MAX_INFLATED_BYTES:
            raise DamagedDicomError("its deflated data set is larger than any CT")
        inflated = b""
        while not inflated and not self._inflate.eof:
            deflated = self._inflate.unconsumed_tail or self._file.read(_PIECE)
            try:
                inflated = self._inflate.decompress(deflated, _PIECE)
            except zlib.error:
                raise DamagedDicomError("its deflated data set cannot be inflated") from None
            if not deflated and not inflated:
                break
        self._piece = memoryview(inflated)
        return bool(inflated)

    def read(self, count: int = -1, /) -> bytes:
        """The next bytes, fewer only at the end.

        Raises:
          DamagedDicomError: what follows cannot be inflated, or is larger than any CT.
        """
        parts = []
        while count > 0:
            offset = self._position - self._piece_start
            if offset < len(self._piece):
                part = self._piece[offset : offset + count]
                parts.append(part)
                count -= len(part)
                self._position += len(part)
            elif not self._next_piece():
                break
        return b"".join(parts)

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position counted from the beginning, or to the end if that comes first.

        Raises:
          DamagedDicomError: what is stepped over cannot be inflated, or is larger than any CT.
        """
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only positions from the beginning")
        if position < self._piece_start:
            self._restart()
        while position > self._piece_start + len(self._piece) and self._next_piece():
            pass
        self._position = min(position, self._piece_start + len(self._piece))
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position
