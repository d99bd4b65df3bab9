"""Read DICOM CT files, of one frame or of many, with the Hounsfield units the scanner wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transform.ct_example import StoredSlice
from transform.pixel_limit import MAX_PIXELS
from transform.reading import dicom_tags
from transform.reading.dicom_elements import DamagedDicomError, Elements
from transform.reading.dicom_geometry import is_axial, is_localizer, pixel_spacing, slice_normal
from transform.reading.dicom_header import DicomHeader, open_regular
from transform.reading.dicom_hounsfield import (
    NotRescaledError,
    hounsfield_slice,
    modality_lut,
    padding,
)
from transform.reading.dicom_pixels import (
    FramePixels,
    UnsupportedPixelsError,
    number_of_frames,
    pixel_format,
)
from transform.reading.found_slice import FileFacts
from transform.reading.plausibility import refuse_implausible
from transform.reading.unusable import Reason, UnusableSliceError

_SERIES_DIGITS = 16

# PS3.3 C.7.3.1.1.1: known terms may be repeated in a message, other text may not.
_MODALITIES = frozenset(
    (
        "ANN", "AR", "AU", "BI", "BMD", "CR", "DOC", "DX", "ECG", "EPS", "ES", "GM", "HD", "IO",
        "IVOCT", "IVUS", "KO", "LEN", "LS", "M3D", "MG", "MR", "NM", "OCT", "OP", "OPT", "OT",
        "PLAN", "PR", "PT", "PX", "REG", "RF", "RG", "RTDOSE", "RTIMAGE", "RTPLAN", "RTRECORD",
        "RTSTRUCT", "SC", "SEG", "SM", "SMR", "SR", "TG", "US", "VA", "XA", "XC",
    )
)  # fmt: skip


@contextmanager
def reasons_for(path: Path) -> Iterator[None]:
    """Turn what reading a file raises into a reason for its quarantine, without a header's text.

    Raises:
      UnusableSliceError: not_rescaled, unsupported_pixels or unreadable.
    """
    try:
        yield
    except UnusableSliceError:
        raise
    except NotRescaledError as error:
        raise UnusableSliceError(Reason.NOT_RESCALED, f"{path} {error}") from None
    except UnsupportedPixelsError as error:
        raise UnusableSliceError(Reason.UNSUPPORTED_PIXELS, f"{path} {error}") from None
    except DamagedDicomError as error:
        detail = f"{path} is damaged or cut off: {error}"
        raise UnusableSliceError(Reason.UNREADABLE, detail) from None
    except OSError as error:
        detail = f"cannot read {path}: {error.strerror or type(error).__name__}"
        raise UnusableSliceError(Reason.UNREADABLE, detail) from None


def refuse_other_modalities(elements: Elements, path: Path) -> None:
    """Refuse what is no CT.

    Raises:
      UnusableSliceError: not_ct.
    """
    modality = elements.term(dicom_tags.MODALITY)
    if modality != "CT":
        named = modality if modality in _MODALITIES else "unknown" if modality else "none"
        raise UnusableSliceError(Reason.NOT_CT, f"{path} has modality {named}, not CT")


def refuse_other_planes(elements: Elements, frame: int, path: Path) -> None:
    """Refuse a scout, and a slice nearer to a sagittal or coronal plane than to an axial one.

    Raises:
      UnusableSliceError: not_axial.
    """
    if is_localizer(elements, frame):
        raise UnusableSliceError(Reason.NOT_AXIAL, f"{path} is a localizer, no axial slice")
    normal = slice_normal(elements, frame)
    if normal is not None and not is_axial(normal):
        raise UnusableSliceError(Reason.NOT_AXIAL, f"{path} is no axial slice")


def series_of(elements: Elements) -> str:
    """A short hash that tells the file's series from others; empty where it names none."""
    series = (elements.raw(dicom_tags.SERIES_INSTANCE_UID) or b"").strip(b" \0")
    return hashlib.sha256(series).hexdigest()[:_SERIES_DIGITS] if series else ""


class DicomFile:
    """One DICOM CT file, opened once, whose frames are read one by one.

    Attributes:
      frames: how many it holds.
      facts: what is known of it besides its pixels.
    """

    def __init__(self, path: Path):
        """Open `path` and read its header.

        Raises:
          UnusableSliceError: missing_file, unreadable, not_ct, no_pixels, unsupported_pixels,
            too_large or burned_in_annotation.
        """
        self._path = path
        self._file = open_regular(path)
        try:
            with reasons_for(path):
                self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        path = self._path
        header = self._header = DicomHeader(self._file)
        elements = header.elements
        refuse_other_modalities(elements, path)
        if header.pixels is None:
            if header.has_float_pixels:
                raise UnusableSliceError(
                    Reason.UNSUPPORTED_PIXELS, f"{path} has pixels that are no integers"
                )
            raise UnusableSliceError(Reason.NO_PIXELS, f"{path} carries no pixel data")
        if elements.term(dicom_tags.BURNED_IN_ANNOTATION) == "YES":
            raise UnusableSliceError(
                Reason.BURNED_IN_ANNOTATION, f"{path} says that text is drawn into its pixels"
            )
        form = pixel_format(header)
        if form.rows * form.columns > MAX_PIXELS:
            raise UnusableSliceError(
                Reason.TOO_LARGE,
                f"{path} has {form.columns} x {form.rows} pixels, more than a CT slice",
            )
        self.frames = form.frames
        self.facts = FileFacts(
            format="dicom",
            mode=header.syntax_keyword,
            bytes=header.size,
            series=series_of(elements),
            patient_id=_patient_id(elements),
        )
        self._pixels: FramePixels | None = None

    def read(self, frame: int = 0) -> StoredSlice:
        """A frame, counted from 0, with its modality LUT (DICOM PS3.3 C.11.1).

        Signed stored values are shifted to be unsigned, and the shift goes into the intercept, so
        that HU = stored * slope + intercept holds for what is returned. Padding (C.7.5.1.1.2)
        becomes air. MONOCHROME1 changes nothing: it says that low values are to be shown bright
        (C.7.6.3.1.2), not that they mean something else.

        Raises:
          UnusableSliceError: unreadable, not_rescaled, not_axial, unsupported_pixels, too_small,
            constant or implausible_hu.
        """
        if not 0 <= frame < self.frames:
            raise IndexError(f"frame {frame} of {self.frames}")
        with reasons_for(self._path):
            elements = self._header.elements
            refuse_other_planes(elements, frame, self._path)
            if self._pixels is None:
                self._pixels = FramePixels(self._header, pixel_format(self._header))
            signed = self._pixels.form.signed
            lut = modality_lut(elements, frame, signed)
            spacing = pixel_spacing(elements, frame)
            stored = self._pixels.read(frame)
            mask = padding(elements, stored, signed, lut, self._pixels.lossy)
            stored_slice = hounsfield_slice(stored, lut, mask, spacing)
        refuse_implausible(stored_slice, self._path)
        return stored_slice

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> DicomFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _patient_id(elements: Elements) -> str:
    """PatientID without padding; Latin-1 where it is not UTF-8, so that every id is told apart."""
    value = (elements.raw(dicom_tags.PATIENT_ID) or b"").strip(b" \0")
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def dicom_frames(path: Path) -> int:
    """How many frames a DICOM file says it holds, from its header alone; 1 for a plain slice.

    Raises:
      UnusableSliceError: missing_file or unreadable.
    """
    with open_regular(path) as file, reasons_for(path):
        return number_of_frames(DicomHeader(file, dicom_tags.FRAME_COUNT))


def read_dicom(path: Path) -> StoredSlice:
    """Read a CT file of one slice, as `DicomFile.read` does.

    Raises:
      UnusableSliceError: one of those of `DicomFile`, or multi_frame.
    """
    with DicomFile(path) as file:
        if file.frames != 1:
            raise UnusableSliceError(
                Reason.MULTI_FRAME, f"{path} holds several frames; name it as a volume"
            )
        return file.read(0)
