"""Slice file: which format a file has, told by its bytes and not by its name."""

from __future__ import annotations

import enum
import os
import stat
from pathlib import Path

from transform.reading.nifti import GZIP_MAGIC, HEAD_BYTES, unpacked_head
from transform.reading.nifti_header import is_nifti
from transform.reading.picture import PICTURE_SIGNATURES
from transform.reading.unusable import Reason, UnusableSliceError

# DICOM PS3.10 section 7.1: a 128-byte preamble, then the prefix.
_DICOM_PREFIX = b"DICM"
_PREAMBLE_BYTES = 128
# Files from before PS3.10, and what some archives send, begin with the first element: of group
# 0002 or 0008, in explicit VR (PS3.5 7.1.2) or in implicit VR, little endian.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
_BIG_ENDIAN_FIRST_GROUP = b"\x00\x08"
_FIRST_VRS = (b"UL", b"CS", b"UI", b"OB", b"SH", b"DA", b"TM", b"LO", b"SQ")
_LAST_FIRST_ELEMENT = 0x70
_LONGEST_FIRST_VALUE = 256


class FileKind(enum.Enum):
    """What the bytes of a file say that it is."""

    PICTURE = enum.auto()
    DICOM = enum.auto()
    NIFTI = enum.auto()
    UNKNOWN = enum.auto()


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a PNG or JPEG picture."""
    return head.startswith(PICTURE_SIGNATURES)


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with these (at least 132) bytes is a DICOM file.

    Files without the preamble count where their first element is one that a data set begins with.
    """
    if head[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == _DICOM_PREFIX:
        return True
    if len(head) <= _PREAMBLE_BYTES:
        return False
    if head.startswith(_BIG_ENDIAN_FIRST_GROUP):
        element = int.from_bytes(head[2:4], "big")
        return element <= _LAST_FIRST_ELEMENT and head[4:6] in _FIRST_VRS
    if not head.startswith(_FIRST_GROUPS):
        return False
    element, length = int.from_bytes(head[2:4], "little"), int.from_bytes(head[4:8], "little")
    return element <= _LAST_FIRST_ELEMENT and (
        head[4:6] in _FIRST_VRS or (length <= _LONGEST_FIRST_VALUE and length % 2 == 0)
    )


def file_kind(head: bytes) -> FileKind:
    """The kind of a file that begins with these (`HEAD_BYTES`) bytes."""
    if is_picture(head):
        return FileKind.PICTURE
    if is_dicom(head):
        return FileKind.DICOM
    if is_nifti(unpacked_head(head) if head.startswith(GZIP_MAGIC) else head):
        return FileKind.NIFTI
    return FileKind.UNKNOWN


def read_head(path: Path) -> bytes:
    """The first `HEAD_BYTES` bytes of a file, enough to tell its format.

    Raises:
      UnusableSliceError: missing_file or unreadable, which pipes and devices are.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "folder" if stat.S_ISDIR(mode) else "pipe, a socket or a device"
            raise UnusableSliceError(Reason.UNREADABLE, f"cannot open {path}: it is a {what}")
        # A pipe that took the file's place in between would block without the flag.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise UnusableSliceError(Reason.MISSING_FILE, f"no such file: {path}") from None
    # ValueError: no system takes the name for one of a file.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnusableSliceError(Reason.UNREADABLE, f"cannot open {path}: {reason}") from error


def unknown_format(path: Path, head: bytes) -> UnusableSliceError:
    """What becomes of a file of another format."""
    found = f"it begins with {head[:4].hex(' ')}" if head else "it is empty"
    return UnusableSliceError(
        Reason.UNKNOWN_FORMAT, f"{path} is neither PNG, JPEG, DICOM nor NIfTI ({found})"
    )
