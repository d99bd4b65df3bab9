"""PNG integrity: whether a file has all the pixels that its header promises, unharmed.

Pillow checks no sum of what holds the pixels, and fills up with black what is missing; the graph
that serves the same picture refuses it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from isal import isal_zlib

_SIGNATURE_BYTES = 8
_PIECE_BYTES = 2**20
# Chunks that a reader must know (ISO/IEC 15948 section 5.4: bit 5 of the first byte is 0).
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Section 8.2, Adam7: first column, first row, column step, row step of each pass.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


class DamagedPngError(Exception):
    """A PNG that is not whole; the message says in which way."""


def _scanline_bytes(header: bytes) -> int:
    """Bytes of all filtered scanlines (section 7.2), from the content of IHDR."""
    if len(header) != 13:
        raise DamagedPngError("its header has another length")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if colour not in _CHANNELS:
        raise DamagedPngError("its header names no kind of colour")
    total = 0
    for column, row, column_step, row_step in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns = (width - column + column_step - 1) // column_step
        rows = (height - row + row_step - 1) // row_step
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * depth * _CHANNELS[colour] + 7) // 8)
    return total


class _Scanlines:
    """Counts what the pixels' stream unpacks to, up to what is needed, and keeps none of it."""

    def __init__(self) -> None:
        self.missing = 0
        self._stream = isal_zlib.decompressobj()

    def feed(self, piece: bytes) -> None:
        unpacked = _PIECE_BYTES
        # A full piece of output may leave more in the stream when all of the input is taken up.
        while (piece or unpacked == _PIECE_BYTES) and self.missing > 0 and not self._stream.eof:
            unpacked = len(self._stream.decompress(piece, _PIECE_BYTES))
            self.missing -= unpacked
            piece = self._stream.unconsumed_tail


def _check_chunks(file: BinaryIO, count_pixels: bool) -> None:
    scanlines = _Scanlines()
    file.seek(_SIGNATURE_BYTES)
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise DamagedPngError("it ends before its last chunk")
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if name not in _CRITICAL:
            if not name[0] & 0x20:
                raise DamagedPngError("it has a chunk that no reader knows")
            file.seek(length + 4, 1)
            continue
        checksum = isal_zlib.crc32(name)
        while length > 0:
            piece = file.read(min(length, _PIECE_BYTES))
            if not piece:
                raise DamagedPngError("it ends in the middle of a chunk")
            length -= len(piece)
            checksum = isal_zlib.crc32(piece, checksum)
            if not count_pixels:
                continue
            if name == b"IHDR":
                scanlines.missing = _scanline_bytes(piece)
            elif name == b"IDAT":
                scanlines.feed(piece)
        if file.read(4) != checksum.to_bytes(4, "big"):
            raise DamagedPngError("the sum of a chunk is wrong")
        if name == b"IEND":
            break
    if scanlines.missing > 0:
        raise DamagedPngError("it has less pixels than its header says")


def check_png(path: Path, *, count_pixels: bool) -> None:
    """Check the sums of a PNG's critical chunks, and that its pixels are all there.

    Memory stays bounded, whatever the file promises; ancillary chunks are stepped over.

    Args:
      path: the file.
      count_pixels: whether to unpack the pixels to count them, which takes most of the time.

    Raises:
      DamagedPngError: a sum is wrong, or something is missing.
      OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            _check_chunks(file, count_pixels)
        except isal_zlib.error as error:  # type: ignore[misc]  # its stub calls it an instance
            raise DamagedPngError("its pixels cannot be unpacked") from error
