"""Folders in object storage, by whatever file system TFX knows for their scheme."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tfx.dsl.io import fileio

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")


def scheme_of(uri: str) -> str:
    """The scheme of an address, such as `gs`; empty for a local path."""
    found = _SCHEME.match(uri)
    return found.group(1) if found else ""


def is_remote(uri: str) -> bool:
    """Whether an address is none that Python opens as a path."""
    return scheme_of(uri) not in ("", "file")


def _files_below(folder: str) -> Iterator[str]:
    """The files of a folder and its folders, relative to it, in order."""
    for current, _, names in fileio.walk(folder):
        below = current.rstrip("/").removeprefix(folder).strip("/")
        yield from (f"{below}/{name}".lstrip("/") for name in sorted(names))


def fetch_folder(uri: str, local: Path) -> None:
    """Copy a folder here.

    Nobody changes an artifact once it is there, so that all files get the same time: what tells
    files apart by their times then finds them again, as a resumed training does.

    Args:
      uri: a folder in object storage.
      local: where its content goes; made.
    """
    local.mkdir(parents=True, exist_ok=True)
    for name in _files_below(uri.rstrip("/")):
        target = local / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fileio.copy(f"{uri.rstrip('/')}/{name}", str(target), overwrite=True)
    settle_times(local)


def settle_times(local: Path) -> None:
    """Give all files of a local folder the same time."""
    for path in local.rglob("*"):
        if path.is_file():
            os.utime(path, (0, 0))


def publish_folder(local: str, uri: str, *, last: tuple[str, ...] = ()) -> None:
    """Copy a folder to object storage, where no folder can be renamed into its place.

    What an earlier, killed attempt left there is removed first.

    Args:
      local: a folder; it may also be one in object storage.
      uri: where it goes.
      last: names of files that whoever reads the folder waits for.
    """
    target = uri.rstrip("/")
    source = local.rstrip("/")
    if fileio.exists(target):
        fileio.rmtree(target)
    names = sorted(_files_below(source), key=lambda name: name in last)
    for name in names:
        copy = f"{target}/{name}"
        fileio.makedirs(copy.rsplit("/", 1)[0])
        fileio.copy(f"{source}/{name}", copy, overwrite=True)
