"""Input slices: what files, folders and volumes name, as the slices that are asked about."""

from __future__ import annotations

import codecs
import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from transform.reading import (
    FoundSlice,
    MachineFaultError,
    Reason,
    SlicePick,
    UnusableSliceError,
    find_slices,
)
from transform.reading.slice_file import FileKind, file_kind, read_head

_log = logging.getLogger(__name__)

# A text that is named like a slice is a slice that went wrong, such as a download's error page.
_SLICE_SUFFIXES = frozenset(
    (".dcm", ".dic", ".dicom", ".gz", ".ima", ".jfif", ".jpe", ".jpeg", ".jpg", ".nii", ".png")
)
_TEXTS_NAMED = 3


@dataclasses.dataclass(frozen=True)
class InputSlice:
    """One slice to ask about, not yet read.

    Attributes:
      source: the file, or the folder, that was taken for one series or volume.
      found: where the slice is.
    """

    source: Path
    found: FoundSlice


@dataclasses.dataclass(frozen=True)
class UnusableInput:
    """A file or folder of which no slice can be asked about.

    Attributes:
      source: the file or folder.
      error: why, in one line.
    """

    source: Path
    error: str


def find_input_slices(
    paths: Iterable[Path],
    pick: SlicePick,
    found: Callable[[int], None] | None = None,
    warned: Callable[[str], None] | None = None,
) -> Iterator[InputSlice | UnusableInput]:
    """The slices that paths name, in the order of the paths.

    A file is a slice or a volume (NIfTI, DICOM of many frames). A folder is one series, or one
    volume; so is every folder within it that is not hidden and holds files. Links to folders are
    followed where they are given and not where they are met. Within a series slices go from feet
    to head (`transform.reading.find_slices`).

    Text beside the slices of a folder (a manifest, a licence, earlier results) is passed over.

    Args:
      paths: files and folders.
      pick: which slices of a volume or series.
      found: told how many slices a file or folder has, before they come.
      warned: told in one line what of a folder was passed over; None to log it.
    """
    for path in paths:
        empty = True
        for source in _sources(path):
            try:
                slices = find_slices(source, pick)
            except UnusableSliceError as error:
                if error.reason is Reason.MISSING_FILE and source.is_dir():
                    continue
                yield _unusable(source, error.detail, found)
            # The other files may do without what is missing here.
            except MachineFaultError as error:
                yield _unusable(source, str(error), found)
            else:
                if source.is_dir():
                    slices = _without_texts(source, slices, warned or _log.warning)
                    if not slices:
                        continue
                if found is not None:
                    found(len(slices))
                yield from (InputSlice(source, one) for one in slices)
            empty = False
        if empty:
            yield _unusable(path, f"{path} holds no file that could be a slice", found)


def _without_texts(
    folder: Path, slices: Sequence[FoundSlice], warned: Callable[[str], None]
) -> list[FoundSlice]:
    texts = [one.path.name for one in slices if one.frame is None and _is_text(one.path)]
    if not texts:
        return list(slices)
    more = len(texts) - _TEXTS_NAMED
    named = ", ".join(texts[:_TEXTS_NAMED]) + (f" and {more} more" if more > 0 else "")
    warned(f"{folder}: passed over what is text and no slice: {named}")
    return [one for one in slices if one.path.name not in texts]


def _is_text(file: Path) -> bool:
    """Whether a file is UTF-8 text by its beginning, and not named like a slice."""
    if file.suffix.lower() in _SLICE_SUFFIXES:
        return False
    try:
        head = read_head(file)
        # The beginning may end within a character.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except (UnusableSliceError, UnicodeDecodeError):
        return False
    # An empty file may be a slice that was never written.
    return bool(head) and b"\0" not in head and file_kind(head) is FileKind.UNKNOWN


def _unusable(source: Path, error: str, found: Callable[[int], None] | None) -> UnusableInput:
    if found is not None:
        found(1)
    return UnusableInput(source, " ".join(error.split()))


def _sources(path: Path) -> Iterator[Path]:
    """A path and the folders below it, each before those within it."""
    yield path
    try:
        with os.scandir(path) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
    # A file, or a folder that cannot be listed: finding its slices says so.
    except (OSError, ValueError):
        return
    for name in names:
        yield from _sources(path / name)
