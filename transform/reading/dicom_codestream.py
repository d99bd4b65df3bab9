"""The size that a JPEG, JPEG-LS or JPEG 2000 codestream gives itself, before it is decoded.

A decoder allocates what the codestream says, not what the DICOM header says: a few damaged bytes
can ask for gigabytes.
"""

from __future__ import annotations

import dataclasses
import struct


@dataclasses.dataclass(frozen=True)
class CodestreamSize:
    """What a codestream says of its picture.

    Attributes:
      rows: height in pixels.
      columns: width in pixels.
      components: 1 for grey.
      precision: bits of a pixel.
      tiles: how many parts are coded one by one; 1 but for JPEG 2000.
    """

    rows: int
    columns: int
    components: int
    precision: int
    tiles: int = 1


# ISO/IEC 10918-1 table B.1: start of frame markers; FFC4, FFC8 and FFCC are others. FFF7 is that
# of JPEG-LS (ISO/IEC 14495-1 C.1.1).
_START_OF_FRAME = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))


def jpeg_size(codestream: bytes) -> CodestreamSize | None:
    """The size in a JPEG or JPEG-LS codestream's frame header; None where there is none."""
    if codestream[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 4 <= len(codestream):
        if codestream[position] != 0xFF:
            return None
        marker = codestream[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _WITHOUT_LENGTH:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", codestream, position + 2)
        if marker in _START_OF_FRAME:
            if position + 10 > len(codestream):
                return None
            precision, rows, columns, components = struct.unpack_from(
                ">BHHB", codestream, position + 4
            )
            return CodestreamSize(rows, columns, components, precision)
        position += 2 + length
    return None


def jpeg_2000_size(codestream: bytes) -> CodestreamSize | None:
    """The size in a JPEG 2000 codestream's SIZ marker segment; None where there is none.

    ISO/IEC 15444-1 A.5.1: it follows the start of codestream at once. Some writers put the
    codestream in a JP2 file, whose boxes come before it.
    """
    start = codestream.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(codestream) < start + 43:
        return None
    right, bottom, left, top, tile_width, tile_height, _, _, components, depth = struct.unpack_from(
        ">8LHB", codestream, start + 8
    )
    if right <= left or bottom <= top or not tile_width or not tile_height:
        return None
    tiles = -(-right // tile_width) * -(-bottom // tile_height)
    return CodestreamSize(bottom - top, right - left, components, (depth & 0x7F) + 1, tiles)
