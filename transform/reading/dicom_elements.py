"""Elements of a DICOM data set: walking through them, and reading only the allowlisted ones.

pydicom's own reader is not used for headers: with `specific_tags` it still parses sequences of
undefined length and all of the file meta information, it repeats values of the header in warnings
and log records, and it inflates a deflated data set without a limit. Here an element that is not
in the allowlist is stepped over by its length (DICOM PS3.5 chapter 7), and what is read is read as
bytes.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple, Protocol

from transform.reading import dicom_tags
from transform.reading.dicom_tags import Allowlist

UNDEFINED_LENGTH = 0xFFFFFFFF

_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD

# PS3.5 7.1.2: explicit VRs with two reserved bytes and a 32-bit length.
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)

_SHORT_VRS = frozenset(
    (
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN",
        b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
    )
)  # fmt: skip

# A lookup table has at most 65,536 entries of 16 bit, an offset table 8 bytes a frame.
_MAX_VALUE_BYTES = 1 << 20
# Items cost far more memory than the eight bytes that they take in a file.
_MAX_ITEMS = 1 << 16
_MAX_DEPTH = 64


class DamagedDicomError(Exception):
    """A DICOM file that breaks its own rules; the message never repeats a value of the header."""


class Source(Protocol):
    """What elements are read from: a file, or a data set that is inflated on the way."""

    def read(self, count: int, /) -> bytes:
        """The next bytes, fewer only at the end."""

    def seek(self, position: int, /) -> int:
        """Go to a position counted from the beginning."""

    def tell(self) -> int:
        """The position."""


class PixelPlace(NamedTuple):
    """Where the value of PixelData lies.

    Attributes:
      vr: as the file gives it; empty where it gives none.
      position: of the first byte, in the source.
      length: in bytes, or `UNDEFINED_LENGTH`.
    """

    vr: bytes
    position: int
    length: int


class Elements:
    """The allowlisted elements of a data set or of a sequence's item, as bytes."""

    def __init__(self, little_endian: bool):
        self._order = "<" if little_endian else ">"
        self._values: dict[int, tuple[bytes, bytes]] = {}
        self._items: dict[int, list[Elements]] = {}

    def put(self, tag: int, vr: bytes, value: bytes) -> None:
        """Add an element; of two with one tag the last counts."""
        self._values[tag] = (vr, value)

    def put_items(self, tag: int, items: list[Elements]) -> None:
        """Add a sequence."""
        self._items[tag] = items

    def item(self, tag: int) -> Elements | None:
        """The first item of a sequence; None where there is none."""
        items = self._items.get(tag)
        return items[0] if items else None

    def items(self, tag: int) -> list[Elements]:
        """All items of a sequence."""
        return self._items.get(tag, [])

    def vr(self, tag: int) -> bytes:
        """The VR that the file gives; empty where it gives none."""
        return self._values[tag][0] if tag in self._values else b""

    def raw(self, tag: int) -> bytes | None:
        """The value as it stands; None where it is absent or empty."""
        value = self._values.get(tag, (b"", b""))[1]
        return value or None

    def term(self, tag: int) -> str:
        """A text without padding, upper case; empty where it is absent or not ASCII."""
        value = (self.raw(tag) or b"").strip(b" \0")
        return value.decode("ascii").upper() if value.isascii() else ""

    def terms(self, tag: int) -> tuple[str, ...]:
        """All values of a text of several."""
        return tuple(part.strip() for part in self.term(tag).split("\\"))

    def numbers(self, tag: int) -> tuple[float, ...] | None:
        """Decimal strings (PS3.5 6.2, DS or IS); None where absent or empty.

        Raises:
          DamagedDicomError: a value is no number.
        """
        value = (self.raw(tag) or b"").strip(b" \0")
        if not value:
            return None
        try:
            # float() takes underscores, a decimal string has none.
            return tuple(float(part.replace(b"_", b"?")) for part in value.split(b"\\"))
        except ValueError:
            raise DamagedDicomError(f"its {dicom_tags.NAMES[tag]} is no number") from None

    def number(self, tag: int) -> float | None:
        """One decimal string; None where absent or empty.

        Raises:
          DamagedDicomError: no number, or several.
        """
        values = self.numbers(tag)
        if values is None:
            return None
        if len(values) != 1:
            raise DamagedDicomError(f"its {dicom_tags.NAMES[tag]} has several values")
        return values[0]

    def whole_number(self, tag: int) -> int | None:
        """One integer string; None where absent or empty.

        Raises:
          DamagedDicomError: no whole number.
        """
        value = self.number(tag)
        if value is None:
            return None
        if not math.isfinite(value) or value != int(value):
            raise DamagedDicomError(f"its {dicom_tags.NAMES[tag]} is no whole number")
        return int(value)

    def words(self, tag: int, signed: bool = False) -> tuple[int, ...] | None:
        """Binary 16-bit integers; None where absent or empty.

        Raises:
          DamagedDicomError: the length does not fit.
        """
        value = self.raw(tag)
        if value is None:
            return None
        if len(value) % 2:
            raise DamagedDicomError(f"its {dicom_tags.NAMES[tag]} has an odd length")
        return struct.unpack(f"{self._order}{len(value) // 2}{'h' if signed else 'H'}", value)

    def word(self, tag: int, signed: bool = False) -> int | None:
        """One binary 16-bit integer; None where absent or empty.

        Raises:
          DamagedDicomError: no such integer, or several.
        """
        values = self.words(tag, signed)
        if values is None:
            return None
        if len(values) != 1:
            raise DamagedDicomError(f"its {dicom_tags.NAMES[tag]} has several values")
        return values[0]

    def required_word(self, tag: int) -> int:
        """One binary 16-bit integer that a CT image must have.

        Raises:
          DamagedDicomError: absent, no such integer, or several.
        """
        value = self.word(tag)
        if value is None:
            raise DamagedDicomError(f"it has no {dicom_tags.NAMES[tag]}")
        return value


class Walk:
    """Steps through the elements of one source, from where it stands."""

    def __init__(self, source: Source, size: int | None, implicit: bool, little_endian: bool):
        """Walk through `source`.

        Args:
          source: stands at the first element.
          size: bytes in the source; None where that is not known.
          implicit: whether elements carry no VR (PS3.5 7.1.3).
          little_endian: byte order.
        """
        self._source = source
        self._size = size
        self._implicit = implicit
        self._little_endian = little_endian
        order = "<" if little_endian else ">"
        self._tag_and_length = struct.Struct(f"{order}HHL").unpack
        self._tag_and_vr = struct.Struct(f"{order}HH2sH").unpack
        self._length = struct.Struct(f"{order}L").unpack
        self.position = source.tell()

    def _read(self, count: int) -> bytes:
        data = self._source.read(count)
        if len(data) < count:
            raise DamagedDicomError("it ends in the middle of an element")
        self.position += count
        return data

    def _go_to(self, position: int) -> None:
        if self._size is not None and position > self._size:
            raise DamagedDicomError("an element goes beyond the end of the file")
        self._source.seek(position)
        self.position = position

    def _header(self, implicit: bool) -> tuple[int, bytes, int]:
        """Tag, VR (empty where implicit) and length of the next element."""
        return self._parsed_header(self._read(8), implicit)

    def _parsed_header(self, data: bytes, implicit: bool) -> tuple[int, bytes, int]:
        group, element, vr, length = self._tag_and_vr(data)
        # An item's tag, and an element of a writer that falls back to implicit VR.
        if implicit or group == 0xFFFE or not b"AA" <= vr <= b"ZZ":
            group, element, length = self._tag_and_length(data)
            vr = b""
        elif vr in _LONG_VRS:
            (length,) = self._length(self._read(4))
        return group << 16 | element, vr, length

    def meta(self) -> Elements:
        """The file meta information (PS3.10 7.1); stands at the data set afterwards.

        Raises:
          DamagedDicomError: cut off.
        """
        found = Elements(little_endian=True)
        while True:
            start = self.position
            head = self._source.read(4)
            self._go_to(start)
            if head[:2] != b"\x02\x00":
                return found
            tag, vr, length = self._header(implicit=False)
            self._take(found, dicom_tags.META, tag, vr, length, False, 0)

    def data_set(self, allowlist: Allowlist) -> tuple[Elements, PixelPlace | None]:
        """The allowlisted elements before the pixels, and where PixelData is.

        Stands where the value of PixelData begins; the length may be undefined. Float pixels are
        found as an element of their own and have no place.

        Raises:
          DamagedDicomError: cut off or not to be understood.
        """
        found = Elements(self._little_endian)
        while True:
            data = self._source.read(8)
            if not data:
                return found, None
            if len(data) < 8:
                raise DamagedDicomError("it ends in the middle of an element")
            self.position += 8
            tag, vr, length = self._parsed_header(data, self._implicit)
            if tag == dicom_tags.PIXEL_DATA:
                return found, PixelPlace(vr, self.position, length)
            if tag in (dicom_tags.FLOAT_PIXEL_DATA, dicom_tags.DOUBLE_FLOAT_PIXEL_DATA):
                found.put(tag, vr, b"\0")
                return found, None
            if tag == _ITEM_END:
                return found, None
            self._take(found, allowlist, tag, vr, length, self._implicit, 0)

    def _take(
        self,
        found: Elements,
        allowlist: Allowlist,
        tag: int,
        vr: bytes,
        length: int,
        implicit: bool,
        depth: int,
    ) -> None:
        """Read an element's value if it is allowlisted, step over it otherwise."""
        inside_implicit = implicit or vr in (b"", b"UN")
        if tag not in allowlist:
            self._step_over(length, inside_implicit)
            return
        if vr and vr not in _SHORT_VRS and vr not in _LONG_VRS:
            raise DamagedDicomError("an element of its header is of no known kind")
        contents = allowlist[tag]
        if contents is not None and vr in (b"SQ", b"UN", b""):
            found.put_items(tag, self._items(contents, length, inside_implicit, depth + 1))
        elif contents is not None or length == UNDEFINED_LENGTH or vr == b"SQ":
            self._step_over(length, inside_implicit)
        elif length > _MAX_VALUE_BYTES:
            raise DamagedDicomError("an element of its header is far too long")
        else:
            found.put(tag, vr, self._read(length))

    def _items(
        self, allowlist: Allowlist, length: int, implicit: bool, depth: int
    ) -> list[Elements]:
        end = None if length == UNDEFINED_LENGTH else self.position + length
        items: list[Elements] = []
        while end is None or self.position < end:
            tag, _, item_length = self._header(implicit=True)
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise DamagedDicomError("a sequence holds something else than items")
            if len(items) == _MAX_ITEMS:
                raise DamagedDicomError("a sequence has far too many items")
            items.append(self._item(allowlist, item_length, implicit, depth))
        return items

    def _item(self, allowlist: Allowlist, length: int, implicit: bool, depth: int) -> Elements:
        end = None if length == UNDEFINED_LENGTH else self.position + length
        found = Elements(self._little_endian)
        while end is None or self.position < end:
            tag, vr, value_length = self._header(implicit)
            if tag == _ITEM_END:
                break
            self._take(found, allowlist, tag, vr, value_length, implicit, depth)
        return found

    def _step_over(self, length: int, implicit: bool) -> None:
        """Step over a value; one of undefined length is walked through without keeping any."""
        if length != UNDEFINED_LENGTH:
            self._go_to(self.position + length)
            return
        # Whether elements (True) or items (False) come next at each depth, and their VR.
        open_values: list[tuple[bool, bool]] = [(False, implicit)]
        while open_values:
            in_item, implicit = open_values[-1]
            tag, vr, length = self._header(implicit or not in_item)
            if tag in (_SEQUENCE_END, _ITEM_END):
                open_values.pop()
            elif length != UNDEFINED_LENGTH:
                self._go_to(self.position + length)
            elif len(open_values) == _MAX_DEPTH:
                raise DamagedDicomError("its sequences are nested too deeply")
            elif in_item:
                open_values.append((False, implicit or vr in (b"", b"UN")))
            elif tag == _ITEM:
                open_values.append((True, implicit))
            else:
                raise DamagedDicomError("a sequence holds something else than items")
