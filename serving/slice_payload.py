"""What the client sends for one slice: the signature to ask and the bytes to ask it with."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from serving.input_slices import InputSlice
from serving.overlay import grey_picture, in_lung_window, is_overlay
from serving.patient import Patient, patient_of
from transform.ct_example import SliceFacts, make_example
from transform.prediction import PREDICT_IMAGE, SERVING_DEFAULT
from transform.reading import (
    FoundSlice,
    ReadingSettings,
    Reason,
    SliceReader,
    UnusableSliceError,
)
from transform.reading.picture import decode_grey
from transform.reading.slice_file import is_picture, read_head

# A picture goes to the server as it is, and the server's model knows the window that it assumes;
# should one be read here by mistake, its Hounsfield units are NaN instead of quietly wrong.
_NO_WINDOW = (math.nan, math.nan)


@dataclasses.dataclass(frozen=True, eq=False)
class SlicePayload:
    """One value of a request.

    Attributes:
      signature: `serving_default` for slices with true HU, `predict_image` for pictures.
      value: the bytes that it takes.
      patient: whose slice it is.
      series: tells slices of one series or volume from those of another; empty for a picture.
      grey: uint8 [height, width], the slice as it is shown; None unless it was asked for.
    """

    signature: str
    value: bytes
    patient: Patient
    series: str = ""
    grey: np.ndarray | None = None


class PayloadReader:
    """Reads slices into what is sent; a context manager, which closes the last volume."""

    def __init__(self, max_bytes: int, *, with_grey: bool = False):
        """Say how much and what to read.

        Args:
          max_bytes: the most that one request can carry.
          with_grey: whether to keep the slice as it is shown.
        """
        self._max_bytes = max_bytes
        self._with_grey = with_grey
        self._reader = SliceReader(ReadingSettings(_NO_WINDOW))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()

    def read(self, input_slice: InputSlice) -> SlicePayload:
        """Read one slice; its format is told by its bytes and not its name.

        PNG and JPEG are sent as they are to `predict_image`; a slice of DICOM or NIfTI becomes a
        CT example with true HU for `serving_default`.

        Raises:
          UnusableSliceError: it cannot be read, is too large to be sent, or is an overlay of
            `serving.overlay` and no slice.
          MachineFaultError: this machine cannot decode it.
        """
        found = input_slice.found
        if found.frame is None and is_picture(read_head(found.path)):
            payload = self._picture(input_slice)
        else:
            payload = self._example(input_slice)
        if len(payload.value) > self._max_bytes:
            raise UnusableSliceError(
                Reason.TOO_LARGE,
                f"{found.path} takes more than the {self._max_bytes} bytes that a request can"
                " carry",
            )
        return payload

    def _picture(self, input_slice: InputSlice) -> SlicePayload:
        path = input_slice.found.path
        value = _read_bytes(path, self._max_bytes)
        if is_overlay(value):
            raise UnusableSliceError(
                Reason.UNKNOWN_FORMAT,
                f"{path} is an overlay that an earlier explanation left, and no slice; keep "
                "overlays out of the folders to predict",
            )
        grey = None
        if self._with_grey:
            decoded = decode_grey(path)
            grey = grey_picture(decoded.grey, decoded.white)
        return SlicePayload(PREDICT_IMAGE, value, patient_of(input_slice.source), grey=grey)

    def _example(self, input_slice: InputSlice) -> SlicePayload:
        reading = self._reader.read(input_slice.found)
        image_id = _image_id(input_slice.found)
        example = make_example(reading.stored_slice, SliceFacts(image_id=image_id))
        return SlicePayload(
            SERVING_DEFAULT,
            example.SerializeToString(),
            patient_of(input_slice.source, reading.file.patient_id),
            reading.file.series,
            in_lung_window(reading.stored_slice.hounsfield()) if self._with_grey else None,
        )


def _image_id(found: FoundSlice) -> str:
    """The name of the file alone: the folders above often name the patient."""
    name = os.fsencode(found.path.name).decode(errors="backslashreplace")
    return name if found.frame is None else f"{name}#{found.frame + 1}"


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than allowed shows the excess without taking in a whole huge file.
            return file.read(max_bytes + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusableSliceError(Reason.UNREADABLE, f"cannot read {path}: {reason}") from error
