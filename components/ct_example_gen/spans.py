"""Spans: which manifests a run reads where its data is a folder of `span-N/manifest.csv`."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from transform.errors import BadDataError

MANIFEST = "manifest.csv"
NEWEST = "newest"

_FOLDER = re.compile(r"span-(\d+)", re.ASCII)
_CHOICE = re.compile(r"newest|\d+|last:[1-9]\d*", re.ASCII)


@dataclasses.dataclass(frozen=True)
class ManifestFile:
    """One manifest of a run.

    Attributes:
      path: the file.
      prefix: what comes before its relative paths, so that they are relative to the run's data.
      span: the number of its span as its folder writes it, empty where there are none.
    """

    path: Path
    prefix: str = ""
    span: str = ""


def is_span_choice(text: str) -> bool:
    """Whether a text names spans: `newest`, a number, or `last:K`."""
    return _CHOICE.fullmatch(text) is not None


def list_spans(folder: Path) -> list[ManifestFile]:
    """The spans of a folder that are whole (their manifest is there), by number.

    Raises:
      BadDataError: two folders have one number (`span-7` and `span-07`), or the folder cannot be
        listed.
    """
    found: dict[int, ManifestFile] = {}
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise BadDataError(f"{folder}: cannot be listed: {error.strerror}") from None
    for entry in entries:
        match = _FOLDER.fullmatch(entry.name)
        if match is None or not (entry / MANIFEST).is_file():
            continue
        number = int(match[1])
        if number in found:
            raise BadDataError(
                f"{entry} and {found[number].path.parent} are both span {number}; rename one"
            )
        found[number] = ManifestFile(entry / MANIFEST, entry.name, str(number))
    return [found[number] for number in sorted(found)]


def resolve_manifests(data: Path, choice: str) -> list[ManifestFile]:
    """The manifests that a run reads.

    Args:
      data: a manifest, or a folder of spans.
      choice: of the spans: `newest`, the number of one, or `last:K` for a rolling window.

    Raises:
      BadDataError: a folder without spans, or without the one asked for.
      ValueError: the choice is none of these.
    """
    if not is_span_choice(choice):
        raise ValueError(f"{choice!r} is neither newest, nor a span's number, nor last:K")
    if not data.is_dir():
        return [ManifestFile(data)]
    spans = list_spans(data)
    if not spans:
        hint = f", such as {data / MANIFEST}" if (data / MANIFEST).is_file() else ""
        raise BadDataError(
            f"{data}: a folder without a span-N/{MANIFEST}; give a manifest{hint}, or a folder of "
            "spans"
        )
    if choice == NEWEST:
        return spans[-1:]
    if choice.startswith("last:"):
        return spans[-int(choice.removeprefix("last:")) :]
    wanted = [span for span in spans if int(span.span) == int(choice)]
    if not wanted:
        raise BadDataError(
            f"{data}: no span {choice}; there are {', '.join(span.span for span in spans)}"
        )
    return wanted
