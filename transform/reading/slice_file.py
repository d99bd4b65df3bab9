"""Read one slice file of any known format."""

from pathlib import Path

from transform.ct_example import StoredSlice
from transform.reading.dicom import read_dicom
from transform.reading.picture import PICTURE_SIGNATURES, read_picture
from transform.reading.unusable import Reason, UnusableSliceError

# DICOM PS3.10 section 7.1: a 128-byte preamble, then the prefix.
_DICOM_PREFIX = b"DICM"
_PREAMBLE_BYTES = 128


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a PNG or JPEG picture."""
    return head.startswith(PICTURE_SIGNATURES)


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with these (at least 132) bytes is a DICOM file."""
    return head[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == _DICOM_PREFIX


def read_head(path: Path) -> bytes:
    """The first 132 bytes of a file, enough to tell its format.

    Raises:
      UnusableSliceError: missing_file or unreadable.
    """
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE_BYTES + len(_DICOM_PREFIX))
    except FileNotFoundError:
        raise UnusableSliceError(Reason.MISSING_FILE, f"no such file: {path}") from None
    # ValueError: no system takes the name for one of a file.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnusableSliceError(Reason.UNREADABLE, f"cannot open {path}: {reason}") from error


def read_slice(path: Path, window: tuple[float, float]) -> StoredSlice:
    """Read a PNG, JPEG or single-frame DICOM CT file.

    Args:
      path: the file; its extension is not looked at.
      window: the HU that black and white stand for in a picture that lost its Hounsfield units.

    Raises:
      UnusableSliceError: with the reason for the quarantine.
    """
    head = read_head(path)
    if is_picture(head):
        return read_picture(path, window)
    if is_dicom(head):
        return read_dicom(path)
    found = f"it begins with {head[:4].hex(' ')}" if head else "it is empty"
    raise UnusableSliceError(
        Reason.UNKNOWN_FORMAT, f"{path} is neither PNG, JPEG nor DICOM ({found})"
    )
