"""The stored values of one frame of a DICOM file (DICOM PS3.3 C.7.6.3, PS3.5 chapter 8)."""

from __future__ import annotations

import dataclasses

import numpy as np
from pydicom import uid

from transform.reading import dicom_tags
from transform.reading.dicom_codestream import jpeg_2000_size, jpeg_size
from transform.reading.dicom_elements import UNDEFINED_LENGTH, DamagedDicomError
from transform.reading.dicom_fragments import Fragment, group_frames, read_fragments
from transform.reading.dicom_header import DicomHeader
from transform.reading.isolated_decoder import UndecodableError, decode_isolated

NATIVE_SYNTAXES = frozenset(
    (
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    )
)

_JPEG = frozenset(
    (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
)
_JPEG_LS = frozenset((uid.JPEGLSLossless, uid.JPEGLSNearLossless))
_JPEG_2000 = frozenset(
    (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
)

# What they compress need not come back as it was.
_LOSSY = frozenset(
    (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)
)

# One plug-in of pydicom for each, since what a second one makes of a damaged codestream need not
# be the picture. Where several can read a sound one they agree, and these are the fastest.
_PLUGINS = {
    uid.RLELossless: "pydicom",
    **dict.fromkeys(_JPEG, "gdcm"),
    **dict.fromkeys(_JPEG_LS, "pyjpegls"),
    **dict.fromkeys(_JPEG_2000, "pylibjpeg"),
}

# A tile costs a decoder memory however small it is.
_MAX_TILES = 1 << 14


class UnsupportedPixelsError(Exception):
    """Sound pixels of a kind that is not read; the message never repeats a text of the header."""


@dataclasses.dataclass(frozen=True)
class PixelFormat:
    """How pixels are stored.

    Attributes:
      rows: height in pixels.
      columns: width in pixels.
      bits_allocated: bits that a pixel takes: 8, 16 or 32.
      bits_stored: bits of them that are used, the lowest ones.
      signed: whether they are two's complement.
      photometric: MONOCHROME1 or MONOCHROME2.
      frames: how many frames there are.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    frames: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame that is not compressed."""
        return self.rows * self.columns * self.bits_allocated // 8


# PS3.3 C.7.6.3.1.2: known terms may be repeated in a message.
_COLOURS = frozenset(
    (
        "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422",
        "YBR_ICT", "YBR_RCT", "HSV", "ARGB", "CMYK", "XYB",
    )
)  # fmt: skip


def number_of_frames(header: DicomHeader) -> int:
    """How many frames a file says it holds; 1 where it says nothing.

    Raises:
      DamagedDicomError: no number above zero.
    """
    frames = header.elements.whole_number(dicom_tags.NUMBER_OF_FRAMES)
    if frames is None:
        return 1
    if not 1 <= frames <= 1 << 16:
        raise DamagedDicomError("its NumberOfFrames is no number of frames")
    return frames


def pixel_format(header: DicomHeader) -> PixelFormat:
    """How the pixels of a file are stored.

    Raises:
      DamagedDicomError: elements are absent or contradict each other.
      UnsupportedPixelsError: colour, or pixels of a bit.
    """
    elements = header.elements
    rows = elements.required_word(dicom_tags.ROWS)
    columns = elements.required_word(dicom_tags.COLUMNS)
    if not rows or not columns:
        raise DamagedDicomError("it has no Rows or no Columns")
    photometric = elements.term(dicom_tags.PHOTOMETRIC_INTERPRETATION)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        named = photometric if photometric in _COLOURS else "of an unknown colour model"
        raise UnsupportedPixelsError(f"is {named}; only grey pixels are read")
    samples = elements.required_word(dicom_tags.SAMPLES_PER_PIXEL)
    if samples != 1:
        raise UnsupportedPixelsError("has several samples in a pixel; only grey pixels are read")
    allocated = elements.required_word(dicom_tags.BITS_ALLOCATED)
    stored = elements.required_word(dicom_tags.BITS_STORED)
    representation = elements.required_word(dicom_tags.PIXEL_REPRESENTATION)
    if allocated in (1, 64):
        raise UnsupportedPixelsError(f"has pixels of {allocated} bit")
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or representation > 1:
        raise DamagedDicomError(
            f"it says that {stored} of {allocated} bits are used, with PixelRepresentation "
            f"{representation}"
        )
    return PixelFormat(
        rows,
        columns,
        allocated,
        stored,
        bool(representation),
        photometric,
        number_of_frames(header),
    )


def _sign_extended(frame: np.ndarray, form: PixelFormat) -> np.ndarray:
    """The values of the bits that are used; what stands above them is none of the pixel's.

    PS3.5 8.1.1: nothing can be said of the bits above. They are dropped, and the highest used bit
    of signed pixels is their sign.
    """
    unused = form.bits_allocated - form.bits_stored
    if not unused:
        return frame
    low = -(1 << (form.bits_stored - 1)) if form.signed else 0
    high = low + (1 << form.bits_stored) - 1
    if low <= frame.min() and frame.max() <= high:
        return frame
    return np.right_shift(np.left_shift(frame, unused), unused)


class FramePixels:
    """The frames of one open file, read one by one.

    Attributes:
      form: how they are stored.
      lossy: whether compression may have changed them.
    """

    def __init__(self, header: DicomHeader, form: PixelFormat):
        """Find the frames.

        Raises:
          DamagedDicomError: the pixel data do not fit the header.
          UnsupportedPixelsError: a compression that is not read.
        """
        assert header.pixels is not None
        self._header = header
        self.form = form
        self.lossy = header.syntax in _LOSSY
        self._position, length = header.pixels
        self._frames: list[list[Fragment]] | None = None
        if header.syntax in NATIVE_SYNTAXES:
            self._check_native_length(length)
        elif header.syntax not in _PLUGINS:
            named = header.syntax_keyword
            raise UnsupportedPixelsError(f"is compressed by a method that is not read ({named})")
        elif length != UNDEFINED_LENGTH:
            raise DamagedDicomError("its pixel data are not compressed as it says")

    def _check_native_length(self, length: int) -> None:
        """Refuse pixel data of another length than the header's sizes make.

        A row too many means that the sizes are wrong, and pixels read with them would be sheared.
        """
        form = self.form
        expected = form.frame_bytes * form.frames
        row = form.columns * form.bits_allocated // 8
        if length == UNDEFINED_LENGTH:
            raise DamagedDicomError("its pixel data are compressed, though it says otherwise")
        if length < expected:
            raise DamagedDicomError("it has fewer pixels than its Rows and Columns say")
        if length >= expected + max(row, 2):
            raise DamagedDicomError("it has more pixels than its Rows and Columns say")

    def read(self, frame: int) -> np.ndarray:
        """Stored values of a frame, counted from 0: integers, [rows, columns].

        Raises:
          DamagedDicomError: cut off, or not to be decoded.
          UnsupportedPixelsError: a compression that is not read.
        """
        if self._header.syntax in NATIVE_SYNTAXES:
            return self._native(frame)
        return self._decoded(self._codestream(frame))

    def _native(self, frame: int) -> np.ndarray:
        form, source = self.form, self._header.source
        swapped = self._swapped_bytes()
        start = form.frame_bytes * frame
        # Swapped bytes come in pairs, and a frame of an odd number of them begins in one.
        before = start % 2 if swapped else 0
        count = form.frame_bytes + before
        count += count % 2 if swapped else 0
        source.seek(self._position + start - before)
        data = source.read(count)
        if swapped:
            data = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
            data = data[before:]
        if len(data) < form.frame_bytes:
            raise DamagedDicomError("its pixel data are cut off")
        order = "<" if self._header.little_endian else ">"
        kind = f"{order}{'i' if form.signed else 'u'}{form.bits_allocated // 8}"
        pixels = np.frombuffer(data[: form.frame_bytes], kind).reshape(form.rows, form.columns)
        return _sign_extended(pixels, form)

    def _swapped_bytes(self) -> bool:
        """Whether pixels of 8 bit are stored as big-endian words (PS3.5 8.2, VR OW)."""
        return (
            not self._header.little_endian
            and self.form.bits_allocated == 8
            and self._header.pixel_vr == b"OW"
        )

    def _codestream(self, frame: int) -> bytes:
        source, form = self._header.source, self.form
        if self._frames is None:
            fragments, basic = read_fragments(source, self._position, self._header.size)
            extended = self._header.elements.raw(dicom_tags.EXTENDED_OFFSET_TABLE) or b""
            self._frames = group_frames(source, fragments, basic, extended, form.frames)
        # The worst that a codec makes of noise is far below twice the size.
        if sum(part.length for part in self._frames[frame]) > 2 * form.frame_bytes + (1 << 20):
            raise DamagedDicomError("its compressed pixel data are larger than its pixels")
        parts = []
        for fragment in self._frames[frame]:
            source.seek(fragment.position)
            parts.append(source.read(fragment.length))
        return b"".join(parts)

    def _check_codestream(self, codestream: bytes) -> None:
        """Refuse a codestream that says another size than the header, before it is decoded."""
        form, syntax = self.form, self._header.syntax
        if syntax == uid.RLELossless:
            return
        size = jpeg_2000_size(codestream) if syntax in _JPEG_2000 else jpeg_size(codestream)
        if size is None:
            raise DamagedDicomError("its compressed pixels do not say their size")
        if size.components != 1:
            raise UnsupportedPixelsError("has compressed colour pixels; only grey ones are read")
        if (size.rows, size.columns) != (form.rows, form.columns) or size.tiles > _MAX_TILES:
            raise DamagedDicomError(
                f"its compressed pixels are {size.columns} x {size.rows}, its header says "
                f"{form.columns} x {form.rows}"
            )
        if syntax == uid.JPEGExtended12Bit and form.bits_stored != 8:
            raise UnsupportedPixelsError("is lossy JPEG of 12 bit, which is not read")

    def _decoded(self, codestream: bytes) -> np.ndarray:
        self._check_codestream(codestream)
        form = self.form
        options = {
            "rows": form.rows,
            "columns": form.columns,
            "bits_allocated": form.bits_allocated,
            "bits_stored": form.bits_stored,
            "pixel_representation": int(form.signed),
            "photometric_interpretation": form.photometric,
        }
        syntax = self._header.syntax
        request = {"syntax": syntax, "plugin": _PLUGINS[uid.UID(syntax)], "options": options}
        try:
            frame = decode_isolated(request, codestream)
        except UndecodableError:
            raise DamagedDicomError("its compressed pixels cannot be decoded") from None
        if frame.dtype.kind not in "iu" or frame.size != form.rows * form.columns:
            raise DamagedDicomError("its compressed pixels are not those that its header says")
        return frame.reshape(form.rows, form.columns)
