"""What the client sends for one slice file: the signature to ask and the bytes to ask it with."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from transform.ct_example import SliceFacts, make_example
from transform.prediction import PREDICT_IMAGE, SERVING_DEFAULT
from transform.reading import Reason, UnusableSliceError, read_slice
from transform.reading.slice_file import is_picture, read_head

# A picture goes to the server as it is, and the server's model knows the window that it assumes;
# should one be read here by mistake, its Hounsfield units are NaN instead of quietly wrong.
_NO_WINDOW = (math.nan, math.nan)


@dataclasses.dataclass(frozen=True)
class SlicePayload:
    """One value of a request: the signature that takes it, and the bytes."""

    signature: str
    value: bytes


def _read_picture_bytes(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than allowed shows the excess without taking in a whole huge file.
            return file.read(max_bytes + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusableSliceError(Reason.UNREADABLE, f"cannot read {path}: {reason}") from error


def _read_example(path: Path) -> bytes:
    try:
        stored_slice = read_slice(path, _NO_WINDOW)
    except UnusableSliceError:
        raise
    # pydicom raises many kinds of error on a damaged header, and one file must not end the others.
    except Exception as error:
        raise UnusableSliceError(Reason.UNREADABLE, f"{path} is damaged: {error}") from error
    # The folders above a file often name the patient, and the server needs neither.
    example = make_example(stored_slice, SliceFacts(image_id=path.name))
    encoded: bytes = example.SerializeToString()
    return encoded


def read_payload(path: Path, max_bytes: int) -> SlicePayload:
    """Read a PNG, JPEG or single-frame DICOM CT file, told by its bytes and not its name.

    Pictures are sent as they are to `predict_image`; DICOM becomes a CT example with true HU for
    `serving_default`.

    Args:
      path: the file.
      max_bytes: the most that one request can carry.

    Raises:
      UnusableSliceError: the file cannot be read, or is too large to be sent.
    """
    if is_picture(read_head(path)):
        payload = SlicePayload(PREDICT_IMAGE, _read_picture_bytes(path, max_bytes))
    else:
        payload = SlicePayload(SERVING_DEFAULT, _read_example(path))
    if len(payload.value) > max_bytes:
        raise UnusableSliceError(
            Reason.TOO_LARGE,
            f"{path} takes more than the {max_bytes} bytes that a request can carry",
        )
    return payload
