"""How an inspection names classes and counts things."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from transform.printable import printable

POSITIVE = "positive"
NEGATIVE = "negative"
UNLABELLED = "unlabelled"
CLASSES = (POSITIVE, NEGATIVE, UNLABELLED)

_HASH = re.compile(r"p?[0-9a-f]{16,}")
_SHOWN_OF_HASH = 11


def class_of(label: int | None) -> str:
    """The class that a label means."""
    if label is None:
        return UNLABELLED
    return POSITIVE if label else NEGATIVE


def short_patient(patient: str) -> str:
    """A patient's id; of a hash, as much as tells patients apart for a reader."""
    if _HASH.fullmatch(patient):
        return f"{patient[:_SHOWN_OF_HASH]}…"
    return printable(patient)


def folder_of_all(names: Iterable[str]) -> str:
    """The folder that all names start with, as in `data/ct/`; empty where there is none."""
    names = list(names)
    first, last = min(names, default=""), max(names, default="")
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    folder, slash, _ = "".join(one for one, _ in alike).rpartition("/")
    return folder + slash


def count(amount: int, noun: str) -> str:
    """An amount of things, as in "1 slice" or "1,024 slices"."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def listed(items: Sequence[str]) -> str:
    """Items as a person writes them: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def share(part: int, whole: int) -> str:
    """A part in percent, never rounded to none or all where it is neither."""
    if not whole or part in (0, whole):
        return "100 %" if part else "0 %"
    return f"{min(max(100 * part / whole, 0.1), 99.9):.1f} %"
