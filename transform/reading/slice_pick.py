"""Slice pick: which slices of a volume or series are taken."""

from __future__ import annotations

import dataclasses
from typing import Literal

ALL = "all"
EVERY = "every"
MIDDLE = "middle"


@dataclasses.dataclass(frozen=True)
class SlicePick:
    """A rule that picks slices by their place in a volume.

    Attributes:
      kind: `all`; `every`: the first and each `number`-th after it; `middle`: the `number` slices
        around the middle, or all where there are fewer.
      number: at least 1; without a meaning for `all`.
    """

    kind: Literal["all", "every", "middle"]
    number: int = 1

    def of(self, count: int) -> range:
        """The places, counted from 0 and in order, that are picked of `count` slices."""
        if self.kind == EVERY:
            return range(0, count, self.number)
        if self.kind == MIDDLE and self.number < count:
            first = (count - self.number) // 2
            return range(first, first + self.number)
        return range(count)


def parse_slice_pick(text: str) -> SlicePick:
    """The pick that `all`, `every:N` or `middle:N` stands for.

    Raises:
      ValueError: the text is none of these.

    Example:
      >>> list(parse_slice_pick("every:3").of(8))
      [0, 3, 6]
    """
    kind, colon, number = text.strip().partition(":")
    if kind == ALL and not colon:
        return SlicePick("all")
    # int() takes digits of other scripts, underscores and signs, too.
    if colon and number.isascii() and number.isdigit() and len(number) < 10 and int(number) > 0:
        if kind == EVERY:
            return SlicePick("every", int(number))
        if kind == MIDDLE:
            return SlicePick("middle", int(number))
    raise ValueError(
        f"{text!r} picks no slices; write all, every:N or middle:N with N from 1, as in every:4"
    )
