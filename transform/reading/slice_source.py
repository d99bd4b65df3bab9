"""Slice source: what a path names, as the slices that it holds.

A path is a file of one slice, a volume (multi-frame DICOM, NIfTI), or a folder whose files are one
series or one volume. Which of these is told by bytes, never by names.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from transform.reading.dicom import DicomFile, dicom_frames
from transform.reading.dicom_series import find_series
from transform.reading.found_slice import FoundSlice
from transform.reading.nifti import NiftiVolume
from transform.reading.slice_file import FileKind, file_kind, read_head
from transform.reading.slice_pick import SlicePick
from transform.reading.unusable import (
    MachineFaultError,
    Reason,
    UnusableSeriesError,
    UnusableSliceError,
)

# The index of a DICOM file set (PS3.10 section 8.6): it names files and holds no slice.
_DICOM_INDEX = "DICOMDIR"

_NAMES = {FileKind.PICTURE: "picture", FileKind.DICOM: "DICOM", FileKind.NIFTI: "NIfTI"}


def find_slices(path: Path, pick: SlicePick) -> list[FoundSlice]:
    """The slices that a path names.

    A file of one slice is that slice. Of a volume, and of a folder, `pick` says which slices are
    taken; those of a volume are in order from the feet to the head, DICOM files of a folder in the
    order of their positions, pictures in the order of their names with numbers as numbers. Files
    of a folder that are of no known format always come as well, for the quarantine. Hidden files
    and DICOMDIR are left out, and folders in the folder are not entered.

    Args:
      path: a file or a folder.
      pick: which slices of a volume or folder.

    Returns:
      The slices, with names that are unique and sort in their order within a volume.

    Raises:
      UnusableSliceError: there is no such path, nothing in it, or it cannot be read as one.
      UnusableSeriesError: the files of a folder are no one series: mixed_series, gap_in_series.
    """
    try:
        return _find(path, pick)
    except (UnusableSliceError, MachineFaultError):
        raise
    # A folder that cannot be listed, or a file that went away in between.
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusableSliceError(Reason.UNREADABLE, f"cannot read {path}: {reason}") from error
    # What other errors say may repeat a header's text.
    except Exception as error:
        raise UnusableSliceError(
            Reason.UNREADABLE, f"{path} is damaged or cut off ({type(error).__name__})"
        ) from error


def _find(path: Path, pick: SlicePick) -> list[FoundSlice]:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        raise UnusableSliceError(Reason.MISSING_FILE, f"no such file or folder: {path}") from None
    # ValueError: no system takes the name for one of a file.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnusableSliceError(Reason.UNREADABLE, f"cannot open {path}: {reason}") from error
    if is_folder:
        return _of_folder(path, pick)
    return _of_file(path, "", file_kind(read_head(path)), pick)


def _of_file(path: Path, name: str, kind: FileKind, pick: SlicePick) -> list[FoundSlice]:
    """The slices of one file; `name` is what tells it from others under the path."""
    if kind is FileKind.NIFTI:
        count = NiftiVolume(path).slices
    else:
        count = dicom_frames(path) if kind is FileKind.DICOM else 1
        if count == 1:
            return [FoundSlice(path, name)]
        _refuse_wrong_count(path)
    digits = len(str(count))
    return [FoundSlice(path, f"{name}#{place + 1:0{digits}d}", place) for place in pick.of(count)]


def _refuse_wrong_count(path: Path) -> None:
    """Let the pixel data decide before frames are listed that a damaged header has made up.

    Raises:
      UnusableSliceError: there are other frames than it says.
    """
    with DicomFile(path) as file:
        try:
            file.read(0)
        except UnusableSliceError as error:
            if error.reason is Reason.UNREADABLE:
                raise


def _of_folder(folder: Path, pick: SlicePick) -> list[FoundSlice]:
    kinds = _files_by_kind(folder)
    if not any(kinds.values()):
        raise UnusableSliceError(
            Reason.MISSING_FILE,
            f"{folder} has no file that could be a slice; name a folder that has (folders in it "
            "are not entered)",
        )
    left_over = kinds[FileKind.UNKNOWN]
    used = {kind: files for kind, files in kinds.items() if files and kind is not FileKind.UNKNOWN}
    if not used:
        return left_over
    members = [found for files in kinds.values() for found in files]
    if len(used) > 1 or len(used.get(FileKind.NIFTI, ())) > 1:
        parts = " and ".join(f"{len(files)} {_NAMES[kind]}" for kind, files in used.items())
        raise UnusableSeriesError(
            Reason.MIXED_SERIES,
            f"{folder} holds {parts} files; a folder is one series or one volume",
            members,
        )
    ((kind, files),) = used.items()
    if kind is FileKind.PICTURE:
        return [files[place] for place in pick.of(len(files))] + left_over
    if kind is FileKind.NIFTI:
        try:
            return _of_file(files[0].path, files[0].name, kind, pick) + left_over
        # Reading it will say the same, and what lies beside it is not lost.
        except UnusableSliceError:
            return files + left_over
    try:
        series = _printable_names(find_series([found.path for found in files], folder))
    except UnusableSeriesError as error:
        members = [*_printable_names(error.members), *left_over]
        raise UnusableSeriesError(error.reason, error.detail, members) from error
    count = _count_in_series(series)
    return [series[place] for place in pick.of(count)] + series[count:] + left_over


def _count_in_series(slices: list[FoundSlice]) -> int:
    """How many slices `find_series` put in order; after them it puts what reading will refuse."""
    count = len(slices)
    while count and not _is_readable(slices[count - 1]):
        count -= 1
    return count


def _is_readable(found: FoundSlice) -> bool:
    try:
        with DicomFile(found.path) as file:
            file.read(found.frame or 0)
    except UnusableSliceError:
        return False
    return True


def _files_by_kind(folder: Path) -> dict[FileKind, list[FoundSlice]]:
    """The files of a folder, in natural order; those that cannot be opened are of unknown kind."""
    kinds: dict[FileKind, list[FoundSlice]] = {kind: [] for kind in FileKind}
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and entry.name.upper() != _DICOM_INDEX
            and not _is_folder(entry)
        ]
    for name in sorted(names, key=_natural_order):
        path = folder / name
        try:
            kind = file_kind(read_head(path))
        # Reading it will say what is wrong with it.
        except UnusableSliceError:
            kind = FileKind.UNKNOWN
        kinds[kind].append(FoundSlice(path, f"/{name}"))
    return {kind: _printable_names(files) for kind, files in kinds.items()}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    # A link that leads to itself.
    except OSError:
        return False


def _natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key that sorts `slice2` before `slice10`."""
    parts = re.split("([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def _printable_names(slices: Iterable[FoundSlice]) -> list[FoundSlice]:
    """Slices whose names every file can hold: a byte of a file's name that is no UTF-8 is coded."""
    return [
        dataclasses.replace(found, name=os.fsencode(found.name).decode(errors="backslashreplace"))
        for found in slices
    ]
