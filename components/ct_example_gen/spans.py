"""Which manifests a run reads: one, those of `span-N/manifest.csv`, and the reference set's."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from transform.errors import BadDataError, ConfigError

MANIFEST = "manifest.csv"
NEWEST = "newest"

REFERENCE_PREFIX = "reference:"
"""What the relative paths of the reference set begin with; no folder of the data is called so."""

_FOLDER = re.compile(r"span-(\d+)", re.ASCII)
_CHOICE = re.compile(r"newest|\d+|last:[1-9]\d*", re.ASCII)


@dataclasses.dataclass(frozen=True)
class ManifestFile:
    """One manifest of a run.

    Attributes:
      path: the file.
      prefix: what comes before its relative paths, so that they are relative to the run's data.
      span: the number of its span as its folder writes it, empty where there are none.
      reference: whether it is that of the reference set, whose slices are the test split.
    """

    path: Path
    prefix: str = ""
    span: str = ""
    reference: bool = False


def is_span_choice(text: str) -> bool:
    """Whether a text names spans: `newest`, a number, or `last:K`."""
    return _CHOICE.fullmatch(text) is not None


def _is_there(manifest: Path) -> bool:
    """Whether there is such a file.

    Raises:
      BadDataError: that cannot be told; to leave the span out would hide it.
    """
    try:
        return manifest.is_file()
    except OSError as error:
        raise BadDataError(
            f"{manifest}: cannot be read: {error.strerror}; mend it, or move the span away"
        ) from None


def list_spans(folder: Path) -> list[ManifestFile]:
    """The spans of a folder that are whole (their manifest is there), by number.

    Raises:
      BadDataError: two folders have one number (`span-7` and `span-07`), or the folder or one of
        its spans cannot be read.
    """
    found: dict[int, ManifestFile] = {}
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise BadDataError(f"{folder}: cannot be listed: {error.strerror}") from None
    for entry in entries:
        match = _FOLDER.fullmatch(entry.name)
        if match is None or not _is_there(entry / MANIFEST):
            continue
        number = int(match[1])
        if number in found:
            raise BadDataError(
                f"{entry} and {found[number].path.parent} are both span {number}; rename one"
            )
        found[number] = ManifestFile(entry / MANIFEST, entry.name, str(number))
    return [found[number] for number in sorted(found)]


def newest_span(manifests: Sequence[ManifestFile]) -> int | None:
    """The highest number of a span among manifests, None where there are no spans."""
    return max((int(one.span) for one in manifests if one.span), default=None)


def resolve_manifests(data: Path, choice: str, reference: str | None = None) -> list[ManifestFile]:
    """The manifests that a run reads.

    Args:
      data: a manifest, or a folder of spans.
      choice: of the spans: `newest`, the number of one, or `last:K` for a rolling window.
      reference: the manifest of the reference set, or None.

    Returns:
      Those of the data, spans by number; then that of the reference set.

    Raises:
      BadDataError: a folder without spans, or without the one asked for.
      ConfigError: there is no such reference, or it is the data itself.
      ValueError: the choice is none of these.
    """
    manifests = _of_data(data, choice)
    if reference is None:
        return manifests
    path = Path(reference).resolve()
    try:
        if not path.is_file():
            what = "is a folder; give the manifest in it" if path.is_dir() else "no such manifest"
            raise ConfigError(f"split.reference: {path}: {what}")
    except OSError as error:
        raise ConfigError(
            f"split.reference: {path}: cannot be read: {error.strerror}; mend it, or name another"
        ) from None
    if any(one.path.resolve() == path for one in manifests):
        raise ConfigError(
            f"split.reference: {path} is the data itself, so that nothing is left to train on"
        )
    return [*manifests, ManifestFile(path, REFERENCE_PREFIX, reference=True)]


def _of_data(data: Path, choice: str) -> list[ManifestFile]:
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
