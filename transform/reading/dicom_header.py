"""Opening a DICOM file: its transfer syntax, its allowlisted elements and where its pixels lie."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from pydicom import uid

from transform.reading import dicom_tags
from transform.reading.dicom_deflated import DeflatedSource
from transform.reading.dicom_elements import DamagedDicomError, Source, Walk
from transform.reading.dicom_tags import Allowlist
from transform.reading.unusable import Reason, UnusableSliceError

_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"

# The keyword is looked up, so that a made-up UID, which could be any text, is never repeated.
_KEYWORDS = {str(known): known.keyword for known in uid.AllTransferSyntaxes}
UNKNOWN_SYNTAX = "unknown"


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file; a pipe or a device, which could block for ever, is refused.

    Raises:
      UnusableSliceError: missing_file or unreadable.
    """
    try:
        # Without O_NONBLOCK the opening itself waits for a pipe's writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise UnusableSliceError(Reason.MISSING_FILE, f"no such file: {path}") from None
    # ValueError: no system takes the name for one of a file.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UnusableSliceError(Reason.UNREADABLE, f"cannot open {path}: {reason}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnusableSliceError(Reason.UNREADABLE, f"{path} is no regular file")
    return os.fdopen(descriptor, "rb", buffering=1 << 15)


class DicomHeader:
    """The allowlisted elements of a DICOM file, and its pixels' place.

    Attributes:
      source: what the pixels are read from.
      size: bytes of the file.
      syntax: UID of the transfer syntax; the one that the data set was found in where the file
        names none.
      syntax_keyword: pydicom's keyword of it, `unknown` where it has none.
      little_endian: byte order of the data set.
      elements: what the allowlist lets through.
      pixels: position and length (perhaps undefined) of PixelData in `source`; None without it.
      pixel_vr: VR of PixelData; empty where the file gives none.
      has_float_pixels: whether it carries pixels as floating-point numbers instead.
    """

    def __init__(self, file: BinaryIO, allowlist: Allowlist = dicom_tags.DATA_SET):
        """Read the header of `file`.

        Raises:
          DamagedDicomError: no DICOM file, or one that breaks its own rules.
        """
        self.size = os.fstat(file.fileno()).st_size
        if file.read(_PREAMBLE_BYTES + len(_PREFIX))[_PREAMBLE_BYTES:] != _PREFIX:
            raise DamagedDicomError("it does not begin as a DICOM file")
        meta = Walk(file, self.size, implicit=False, little_endian=True).meta()
        named = (meta.raw(dicom_tags.TRANSFER_SYNTAX_UID) or b"").strip(b" \0")
        self.syntax = named.decode("ascii", "replace") or str(uid.ExplicitVRLittleEndian)
        self.syntax_keyword = _KEYWORDS.get(self.syntax, UNKNOWN_SYNTAX)
        self.little_endian = self.syntax != uid.ExplicitVRBigEndian
        self.source: Source = file
        size: int | None = self.size
        if self.syntax == uid.DeflatedExplicitVRLittleEndian:
            self.source, size = DeflatedSource(file), None
        start = self.source.tell()
        head = self.source.read(6)
        self.source.seek(start)
        # Writers lie about this; two capital letters where a VR would be cannot be a length.
        implicit = not head[4:6].isupper()
        walk = Walk(self.source, size, implicit, self.little_endian)
        self.elements, pixels = walk.data_set(allowlist)
        self.pixels = None if pixels is None else (pixels.position, pixels.length)
        self.pixel_vr = b"" if pixels is None else pixels.vr
        self.has_float_pixels = any(
            self.elements.raw(tag) is not None
            for tag in (dicom_tags.FLOAT_PIXEL_DATA, dicom_tags.DOUBLE_FLOAT_PIXEL_DATA)
        )
