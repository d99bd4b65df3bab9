"""One bucket of slices: which of them are close enough to be verified, in time linear in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from components.ct_example_gen.near_duplicates.fingerprint import HASH_SIZE
from components.ct_example_gen.near_duplicates.hash_keys import bit_order, sign_bits

# Bits of 68 that may differ. A crop by 3 % on several sides turns up to 15; between the chests of
# two people 30 differ in the mean.
MOST_TURNED_BITS = 18
# How many of its successors, in the order of the bits, a slice is compared with.
COMPARED = 32
# How many of them it is verified against, closest first.
VERIFIED = 4

_NAME_BYTES = 12
_SERIES_BYTES = 8
_HASH_BYTES = -(-HASH_SIZE // 64) * 8


@dataclasses.dataclass(frozen=True)
class BucketEntry:
    """A slice in a bucket, small enough to be there many times.

    Attributes:
      name: _NAME_BYTES bytes that stand for the slice's id.
      series: _SERIES_BYTES bytes that stand for its series, all zero where it has none.
      bits: the signs of its hash, packed into _HASH_BYTES bytes.
    """

    name: bytes
    series: bytes
    bits: bytes

    @classmethod
    def of(cls, name: bytes, series: bytes, perceptual_hash: bytes) -> BucketEntry:
        """The entry of a slice."""
        padded = np.zeros(_HASH_BYTES * 8, bool)
        padded[:HASH_SIZE] = sign_bits(perceptual_hash)
        return cls(name, series, np.packbits(padded).tobytes())

    def pack(self) -> bytes:
        """As one string of bytes, which costs a runner least."""
        return self.name + self.series + self.bits


_PACKED = np.dtype(
    [
        ("name", f"V{_NAME_BYTES}"),
        ("series", np.uint64),
        ("bits", np.uint64, (_HASH_BYTES // 8,)),
    ]
)


def close_pairs(table: int, packed_entries: Iterable[bytes]) -> Iterator[tuple[bytes, bytes, int]]:
    """Pairs of names in a bucket whose hashes are close; never two of one series.

    The entries are sorted by their bits in the table's order, which puts those that agree in most
    leading bits next to each other (a prefix tree of hashes, as in an LSH forest: Bawa and others,
    2005), and each is compared with COMPARED successors. A bucket of `n` slices so costs at most
    COMPARED * n comparisons and gives at most VERIFIED * n pairs.

    Args:
      table: of the bucket's key.
      packed_entries: `BucketEntry.pack()` of each slice, in any order.

    Yields:
      (name, name, how many bits differ), the smaller name first.
    """
    ordered = sorted(packed_entries)
    count = len(ordered)
    if count < 2:
        return
    entries = np.frombuffer(b"".join(ordered), _PACKED)
    if count > COMPARED + 1:
        bits = np.unpackbits(entries["bits"].view(np.uint8), axis=1, count=HASH_SIZE)
        leading = np.ascontiguousarray(np.packbits(bits[:, bit_order(table)], axis=1))
        # Stable, so that slices with the same bits stay in the order of their names.
        by_bits = np.argsort(leading.view(f"S{leading.shape[1]}").ravel(), kind="stable")
        entries = entries[by_bits]
    reach = min(COMPARED, count - 1)
    turned = np.full((count, reach), HASH_SIZE, np.uint8)
    for step in range(1, reach + 1):
        here, there = entries[:-step], entries[step:]
        distance = np.bitwise_count(here["bits"] ^ there["bits"]).sum(axis=1, dtype=np.uint8)
        same_series = (here["series"] == there["series"]) & (here["series"] != 0)
        same_slice = here["name"] == there["name"]
        turned[:-step, step - 1] = np.where(same_series | same_slice, HASH_SIZE, distance)
    closest = np.argsort(turned, axis=1, kind="stable")[:, :VERIFIED]
    rows, ranks = np.nonzero(np.take_along_axis(turned, closest, axis=1) <= MOST_TURNED_BITS)
    names = entries["name"]
    for row, rank in zip(rows, ranks, strict=True):
        first = names[row].tobytes()
        second = names[row + 1 + closest[row, rank]].tobytes()
        smaller, larger = sorted((first, second))
        yield smaller, larger, int(turned[row, closest[row, rank]])
