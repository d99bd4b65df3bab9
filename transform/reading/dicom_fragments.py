"""The frames of encapsulated pixel data (DICOM PS3.5 A.4): which fragments belong to which."""

from __future__ import annotations

import dataclasses
import struct

from transform.reading.dicom_elements import UNDEFINED_LENGTH, DamagedDicomError, Source

_ITEM = 0xFFFEE000
_SEQUENCE_END = 0xFFFEE0DD
_HEADER_BYTES = 8
# An offset table has four bytes a frame; a fragment in memory takes more than its header's eight.
_MAX_FRAGMENTS = 1 << 17


@dataclasses.dataclass(frozen=True)
class Fragment:
    """A piece of a frame's codestream.

    Attributes:
      offset: of its item, counted from the first fragment's item.
      position: of its bytes in the source.
      length: in bytes.
    """

    offset: int
    position: int
    length: int


def _item(source: Source) -> int | None:
    """Length of the next item; None at the end."""
    header = source.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return None
    # Encapsulated data are little endian (PS3.5 A.4).
    group, element, length = struct.unpack("<HHL", header)
    tag = group << 16 | element
    if tag == _SEQUENCE_END:
        return None
    if tag != _ITEM or length == UNDEFINED_LENGTH:
        raise DamagedDicomError("its compressed pixel data are not in items")
    return length


def read_fragments(source: Source, position: int, size: int) -> tuple[list[Fragment], bytes]:
    """All fragments, and the basic offset table.

    Args:
      source: what to read from.
      position: where the value of PixelData begins.
      size: bytes of the source.

    Raises:
      DamagedDicomError: cut off, or not made of items.
    """
    source.seek(position)
    table_length = _item(source)
    if table_length is None or table_length > 4 * _MAX_FRAGMENTS:
        raise DamagedDicomError("its compressed pixel data have no offset table")
    table = source.read(table_length)
    first = position = position + _HEADER_BYTES + table_length
    fragments: list[Fragment] = []
    while True:
        source.seek(position)
        length = _item(source)
        if length is None:
            return fragments, table
        start = position + _HEADER_BYTES
        if start + length > size:
            raise DamagedDicomError("its compressed pixel data are cut off")
        if len(fragments) == _MAX_FRAGMENTS:
            raise DamagedDicomError("its compressed pixel data have far too many fragments")
        fragments.append(Fragment(position - first, start, length))
        position = start + length


def _ends_a_frame(source: Source, fragment: Fragment) -> bool:
    """Whether a fragment ends with the marker that ends a JPEG or JPEG 2000 codestream."""
    tail = min(fragment.length, 10)
    source.seek(fragment.position + fragment.length - tail)
    return b"\xff\xd9" in source.read(tail)


def group_frames(
    source: Source, fragments: list[Fragment], basic: bytes, extended: bytes, frames: int
) -> list[list[Fragment]]:
    """The fragments of each frame.

    Args:
      source: what the fragments lie in.
      fragments: all of them, in order.
      basic: the basic offset table, 32 bit a frame; may be empty.
      extended: ExtendedOffsetTable (7FE0,0001), 64 bit a frame; may be empty.
      frames: how many frames there are.

    Raises:
      DamagedDicomError: there are other frames than that, or a table points elsewhere.
    """
    if not fragments:
        raise DamagedDicomError("its compressed pixel data are empty")
    if frames == 1:
        if len(basic) > 4:
            raise DamagedDicomError("its compressed pixel data hold more frames than it says")
        if sum(_ends_a_frame(source, fragment) for fragment in fragments[:-1]):
            raise DamagedDicomError("its compressed pixel data hold more frames than it says")
        return [fragments]
    if len(fragments) == frames:
        return [[fragment] for fragment in fragments]
    if basic and len(basic) != 4 * frames:
        raise DamagedDicomError("its compressed pixel data hold other frames than it says")
    starts: tuple[int, ...] = ()
    if len(extended) >= 8 * frames:
        starts = struct.unpack(f"<{frames}Q", extended[: 8 * frames])
    elif len(basic) >= 4 * frames:
        starts = struct.unpack(f"<{frames}L", basic[: 4 * frames])
    if starts:
        index_of = {fragment.offset: index for index, fragment in enumerate(fragments)}
        begins = [index_of.get(start) for start in starts]
        ends = [*begins[1:], len(fragments)]
        grouped = [
            fragments[begin:end]
            for begin, end in zip(begins, ends, strict=True)
            if begin is not None and end is not None and begin < end
        ]
    else:
        grouped, current = [], []
        for fragment in fragments:
            current.append(fragment)
            if _ends_a_frame(source, fragment):
                grouped.append(current)
                current = []
        if current:
            grouped.append(current)
    if len(grouped) != frames:
        raise DamagedDicomError("its compressed pixel data hold other frames than it says")
    return grouped
