"""What to say where a disk is full or cannot be written, whatever error tells of it."""

from __future__ import annotations

import errno
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

_WHAT = {
    errno.ENOSPC: ("no space left", "free some and run again"),
    errno.EDQUOT: ("the disk quota is used up", "free some and run again"),
    errno.EROFS: ("a read-only file system", "make it writable, or write elsewhere"),
}
# TensorFlow, Beam, pydicom and ML Metadata pass on the text alone.
_TEXTS = {
    "no space left on device": errno.ENOSPC,
    "database or disk is full": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "read-only file system": errno.EROFS,
}
_PATH = re.compile(r"(?<![\w.:/])/[^\s'\":;,()\[\]]+")
# What is left on a disk that refused a write.
_ALMOST_NOTHING = 1 << 20
# Characters that a path and the symptom that it goes with are apart.
_NEAR = 300


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it came from."""
    seen: list[BaseException] = []
    rest: list[BaseException | None] = [error]
    while rest:
        one = rest.pop(0)
        if one is None or any(one is other for other in seen):
            continue
        seen.append(one)
        yield one
        rest += [one.__cause__, one.__context__]


def _code(error: BaseException) -> int | None:
    """The errno by which an error tells of a disk, None where it tells of something else."""
    if isinstance(error, OSError) and error.errno in _WHAT:
        return error.errno
    if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == (
        sqlite3.SQLITE_FULL
    ):
        return errno.ENOSPC
    text = str(error).lower()
    return next((code for symptom, code in _TEXTS.items() if symptom in text), None)


def _existing(path: Path) -> Path:
    """The nearest folder above that is there."""
    return next(one for one in (path, *path.parents) if one.exists())


def _named(errors: Sequence[BaseException]) -> str | None:
    """The file that one of the errors names."""
    for error in errors:
        if isinstance(error, OSError) and isinstance(error.filename, str):
            return error.filename
    for error in errors:
        for found in _PATH.findall(_around_the_symptom(str(error))):
            # Traces name the sources that they pass through.
            if not found.endswith((".py", ".cc")) and Path(found).parent.is_dir():
                return str(found)
    return None


def _around_the_symptom(text: str) -> str:
    """The words beside the symptom: a long text names files that have nothing to do with it."""
    for line in text.splitlines():
        for symptom in _TEXTS:
            if (at := line.lower().find(symptom)) >= 0:
                return line[max(at - _NEAR, 0) : at + len(symptom) + _NEAR]
    return ""


def _full(places: Sequence[Path]) -> str:
    """Those of some places where nothing is left; all of them where none is found out."""
    full = []
    for place in places:
        try:
            if shutil.disk_usage(_existing(place)).free < _ALMOST_NOTHING:
                full.append(place)
        except OSError:
            continue
    return " or ".join(dict.fromkeys(map(str, full or places)))


def places_in(arguments: Sequence[str]) -> list[Path]:
    """The files and folders that a command line names, options' values among them."""
    values = [argument.rpartition("=")[2] for argument in arguments]
    return [Path(one) for one in values if "/" in one or Path(one).exists()]


def describe_full_disk(error: BaseException, places: Sequence[Path] = ()) -> str | None:
    """One line about a disk that took no more, None where the error is about something else.

    Args:
      error: whose causes are looked at too.
      places: where the command writes, asked about where the error names no file.
    """
    errors = list(_chain(error))
    code = next((found for one in errors if (found := _code(one)) is not None), None)
    if code is None:
        return None
    what, advice = _WHAT[code]
    told = [one for one in errors if _code(one) == code]
    where = _named(told) or _full([*places, Path.cwd(), Path(tempfile.gettempdir())])
    return f"{what}: {where}: {advice}"
