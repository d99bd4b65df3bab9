"""A sample of the accepted slices, bounded and the same in every run, in columns."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import math
from typing import Any

import numpy as np

SAMPLED = 20_000

CATEGORIES = ("format", "mode", "source", "calibrated")
NUMBERS = ("bytes", "height", "width", "spacing")
STATISTICS = ("mean_hu", "std_hu", "min_hu", "max_hu", "lung_fraction", "sharpness", "noise")


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """Accepted slices, a column each.

    Attributes:
      patient: object [n], whose they are.
      label: int8 [n], 1 positive, 0 negative, -1 unknown.
      categories: object [n] of text for each of `CATEGORIES`.
      numbers: float64 [n] for each of `NUMBERS` and `STATISTICS`, NaN where unknown.
      whole: whether these are all slices.
    """

    patient: np.ndarray
    label: np.ndarray
    categories: dict[str, np.ndarray]
    numbers: dict[str, np.ndarray]
    whole: bool

    def __len__(self) -> int:
        return len(self.label)


def _number(value: Any) -> float:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else math.nan


class Sampler:
    """Keeps the slices whose ids have the smallest hashes, labelled ones before others."""

    def __init__(self, most: int = SAMPLED):
        self._most = most
        self._seen = 0
        # The largest key on top, so that it is the first to go.
        self._heap: list[tuple[int, int, tuple[Any, ...]]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Look at one line of `accepted.jsonl`."""
        self._seen += 1
        digest = hashlib.blake2b(row["id"].encode("utf-8", "surrogatepass"), digest_size=8)
        key = int.from_bytes(digest.digest())
        if row.get("label") is None:
            key += 1 << 64
        if len(self._heap) >= self._most and -key <= self._heap[0][0]:
            return
        label = row.get("label")
        kept = (
            row.get("patient_id") or "",
            -1 if label is None else int(label),
            *(str(row.get(name) if row.get(name) is not None else "") for name in CATEGORIES),
            *(_number(row.get(name)) for name in (*NUMBERS, *STATISTICS)),
        )
        entry = (-key, -self._seen, kept)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def sample(self) -> Sample:
        """What was kept, in an order that does not depend on that of the lines."""
        rows = [kept for _, _, kept in sorted(self._heap, reverse=True)]
        width = 2 + len(CATEGORIES) + len(NUMBERS) + len(STATISTICS)
        columns = list(zip(*rows, strict=True)) if rows else [()] * width
        categories = columns[2 : 2 + len(CATEGORIES)]
        numbers = columns[2 + len(CATEGORIES) :]
        return Sample(
            patient=np.array(columns[0], object),
            label=np.array(columns[1], np.int8),
            categories={
                name: np.array(column, object)
                for name, column in zip(CATEGORIES, categories, strict=True)
            },
            numbers={
                name: np.array(column, np.float64)
                for name, column in zip((*NUMBERS, *STATISTICS), numbers, strict=True)
            },
            whole=self._seen <= self._most,
        )
