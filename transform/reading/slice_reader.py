"""Slice reader: the one door through which a slice that was found is read."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol

from transform.ct_example import StoredSlice
from transform.reading.dicom import DicomFile
from transform.reading.found_slice import FoundSlice, ReadingSettings, SliceReading
from transform.reading.nifti import NiftiVolume
from transform.reading.picture import read_picture
from transform.reading.slice_file import FileKind, file_kind, read_head, unknown_format
from transform.reading.unusable import MachineFaultError, Reason, UnusableSliceError


class _Volume(Protocol):
    """A file of several slices that stays open between them."""

    @property
    def slices(self) -> int:
        """How many slices it has."""

    def read(self, index: int) -> SliceReading:
        """Read the slice at a place, from 0."""

    def close(self) -> None:
        """Close the file, and remove what was made for it."""


class _DicomVolume:
    """A DICOM file, whose frames are its slices."""

    def __init__(self, path: Path):
        self._file = DicomFile(path)
        self.slices = self._file.frames

    def read(self, index: int) -> SliceReading:
        return SliceReading(self._file.read(index), self._file.facts)

    def close(self) -> None:
        self._file.close()


class SliceReader:
    """Reads slices of any format.

    The last file stays open, so that reading the slices of a volume one after another costs time
    that grows with their number alone. A context manager: leaving it closes that file and removes
    what it was unpacked to.

    Example:
      >>> with SliceReader(ReadingSettings(window=(-1000.0, 400.0))) as reader:
      ...     readings = [reader.read(found) for found in find_slices(path, SlicePick("all"))]
    """

    def __init__(self, settings: ReadingSettings):
        self._settings = settings
        self._path: Path | None = None
        self._volume: _Volume | None = None

    def __enter__(self) -> SliceReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that is open; the reader can be used again."""
        volume, self._volume, self._path = self._volume, None, None
        if volume is not None:
            volume.close()

    def read(self, found: FoundSlice) -> SliceReading:
        """Read one slice.

        Raises:
          UnusableSliceError: with the reason for the quarantine; nothing else, whatever the file.
          MachineFaultError: compressed pixels cannot be decoded here at all.
        """
        try:
            return self._read(found)
        except (UnusableSliceError, MachineFaultError):
            raise
        # Decoders raise many kinds of error on damaged files, and what these say may repeat a
        # header's text.
        except Exception as error:
            raise UnusableSliceError(
                Reason.UNREADABLE, f"{found.path} is damaged or cut off ({type(error).__name__})"
            ) from error

    def _read(self, found: FoundSlice) -> SliceReading:
        if self._volume is None or found.path != self._path:
            head = read_head(found.path)
            kind = file_kind(head)
            if kind is FileKind.PICTURE:
                return read_picture(found.path, self._settings)
            if kind is FileKind.UNKNOWN:
                raise unknown_format(found.path, head)
            self.close()
            self._volume = _open_volume(found.path, kind)
            self._path = found.path
        if found.frame is None and self._volume.slices != 1:
            raise UnusableSliceError(
                Reason.MULTI_FRAME,
                f"{found.path} is a volume of {self._volume.slices} slices, where one slice is "
                "asked for",
            )
        return self._volume.read(found.frame or 0)


def _open_volume(path: Path, kind: FileKind) -> _Volume:
    return NiftiVolume(path) if kind is FileKind.NIFTI else _DicomVolume(path)


def read_slice(path: Path, window: tuple[float, float]) -> StoredSlice:
    """Read a file of one slice: PNG, JPEG, DICOM CT, or a NIfTI volume that has no other.

    Args:
      path: the file; its extension is not looked at.
      window: the HU that black and white stand for in a picture that lost its Hounsfield units.

    Raises:
      UnusableSliceError: with the reason for the quarantine; multi_frame for a volume.
    """
    with SliceReader(ReadingSettings(window)) as reader:
        return reader.read(FoundSlice(path)).stored_slice
