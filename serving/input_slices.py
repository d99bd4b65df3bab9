"""Input slices: what files, folders and volumes name, as the slices that are asked about."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from transform.reading import (
    FoundSlice,
    MachineFaultError,
    Reason,
    SlicePick,
    UnusableSliceError,
    find_slices,
)


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
    leave_out: Collection[Path] = (),
) -> Iterator[InputSlice | UnusableInput]:
    """The slices that paths name, in the order of the paths.

    A file is a slice or a volume (NIfTI, DICOM of many frames). A folder is one series, or one
    volume; so is every folder within it that is not hidden and holds files. Links to folders are
    followed where they are given and not where they are met. Within a series slices go from feet
    to head (`transform.reading.find_slices`).

    Args:
      paths: files and folders.
      pick: which slices of a volume or series.
      found: told how many slices a file or folder has, before they come.
      leave_out: files that are passed over where a folder holds them.
    """
    passed_over = {identity for file in leave_out if (identity := _identity(file))}
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
                if passed_over and source.is_dir():
                    slices = [one for one in slices if _identity(one.path) not in passed_over]
                    if not slices:
                        continue
                if found is not None:
                    found(len(slices))
                yield from (InputSlice(source, one) for one in slices)
            empty = False
        if empty:
            yield _unusable(path, f"{path} holds no file that could be a slice", found)


def _identity(file: Path) -> tuple[int, int] | None:
    """Tells a file from every other one by whatever name it is met; None where it is not there."""
    try:
        facts = file.stat()
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino


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
