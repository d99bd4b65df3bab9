"""The near-duplicate search as a Beam transform: fingerprints in, verified pairs of ids out.

Slices with the very same fingerprint are paired first and go on as one or two of them. The rest
meets in the buckets of `hash_keys`, `bucket` picks the pairs that are worth a look, and `misfit`
looks. Only the last step sees thumbnails, which it fetches from a `fingerprint_store`.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import heapq
import itertools
import typing
from collections.abc import Iterable, Iterator

import apache_beam as beam

from components.ct_example_gen.near_duplicates.bucket import BucketEntry, close_pairs
from components.ct_example_gen.near_duplicates.fingerprint import Fingerprint, hash_likeness
from components.ct_example_gen.near_duplicates.fingerprint_store import FingerprintReader, file_of
from components.ct_example_gen.near_duplicates.hash_keys import KEY_BYTES, bucket_keys
from components.ct_example_gen.near_duplicates.misfit import SAME_PICTURE, misfit

# Likeness of two hashes below which their thumbnails are not compared. One picture and its crop by
# 3 % on several sides, its tone changed too, have at least 0.90 (COVID-CT).
_LEAST_LIKENESS = 0.89

# Of how many candidates of a slice the hashes are compared, those with the fewest bits turned, and
# of how many the thumbnails, those of the most alike hashes. What is the same picture comes first;
# among many slices of like chests, each finds more candidates the more there are, up to a hundred.
_COMPARED_HASHES = 16
_COMPARED_THUMBNAILS = 4

# The table and eight bits of the key: a thousand shelves to share out among workers.
_SHELF_BYTES = 2

_NO_SERIES = bytes(8)

_SINGLE = "single"
_PAIRS = "pairs"


@dataclasses.dataclass(frozen=True)
class FingerprintedSlice:
    """A slice to be searched.

    Attributes:
      id: of the slice, unique in the search.
      series: of the slice; two slices of one series are different by construction and no pair,
        unless they are equal. Empty where unknown, which rules nothing out.
      fingerprint: of its pixels.
      place: where the fingerprint is stored.
    """

    id: str
    series: str
    fingerprint: Fingerprint
    place: bytes


class _Member(typing.NamedTuple):
    """A slice without its thumbnail, its bucket keys in a row."""

    id: str
    series: str
    hash: bytes
    keys: bytes
    place: bytes


def _series_name(series: str) -> bytes:
    if not series:
        return _NO_SERIES
    return hashlib.blake2b(series.encode(), digest_size=8).digest()


def _by_exact_fingerprint(one: FingerprintedSlice) -> tuple[bytes, _Member]:
    whole = one.fingerprint.hash + one.fingerprint.thumbnail
    digest = hashlib.blake2b(whole, digest_size=16).digest()
    keys = b"".join(bucket_keys(one.fingerprint.thumbnail))
    return digest, _Member(one.id, one.series, one.fingerprint.hash, keys, one.place)


def _pair_exact(
    digest_and_members: tuple[bytes, Iterable[_Member]],
) -> Iterator[_Member | beam.pvalue.TaggedOutput]:
    """Pair the slices of one fingerprint with the first of them, and pass on who stands for all.

    Within a series too: no two slices of a patient are equal to the last grey level, but a file
    and its copy are, and the copy carries the series of its original.
    """
    first, *others = sorted(digest_and_members[1])
    yield first
    # The search finds nothing within a series, so that one of another series stands for all too.
    second = next((one for one in others if one.series != first.series), None)
    if second is not None:
        yield second
    for one in others:
        yield beam.pvalue.TaggedOutput(_PAIRS, (first.id, one.id))


def _into_buckets(member: _Member) -> Iterator[tuple[bytes, bytes]]:
    """A slice's entries, keyed by shelf: the buckets whose keys begin alike.

    A runner that keeps groups in memory pays more for a key than for an entry, and most buckets
    hold one slice.
    """
    entry = BucketEntry.of(member.place, _series_name(member.series), member.hash).pack()
    for start in range(0, len(member.keys), KEY_BYTES):
        key = member.keys[start : start + KEY_BYTES]
        yield key[:_SHELF_BYTES], key[_SHELF_BYTES:] + entry


def _pairs_of_shelf(shelf_and_entries: tuple[bytes, Iterable[bytes]]) -> Iterator:
    shelf, entries = shelf_and_entries
    rest = KEY_BYTES - _SHELF_BYTES
    for _, bucket in itertools.groupby(sorted(entries), key=lambda entry: entry[:rest]):
        yield from close_pairs(shelf[0], [entry[rest:] for entry in bucket])


def _nearest(
    pairs: Iterable[tuple[bytes, bytes, int]],
) -> list[tuple[bytes, bytes]]:
    """Of each first place, the second places with the fewest bits turned.

    Returns:
      (second, first), in order.
    """
    turned: dict[bytes, dict[bytes, int]] = collections.defaultdict(dict)
    for first, second, bits in pairs:
        turned[first][second] = bits
    return sorted(
        (second, first)
        for first, seconds in turned.items()
        for _, second in heapq.nsmallest(
            _COMPARED_HASHES, ((bits, second) for second, bits in seconds.items())
        )
    )


class _Verify(beam.DoFn):
    """Look at candidate pairs, grouped by the file of the first.

    Both rounds go through the pairs by the second place, so that each file is opened once.
    """

    def __init__(self, store: str, most_misfit: float):
        self._store = store
        self._most_misfit = most_misfit

    def process(
        self, file_and_pairs: tuple[bytes, Iterable[tuple[bytes, bytes, int]]]
    ) -> Iterator[tuple[str, str]]:
        reader = FingerprintReader(self._store)
        _, pairs = file_and_pairs
        alike = collections.defaultdict(list)
        for second, first in _nearest(pairs):
            (_, one), (_, other) = reader.fetch(first), reader.fetch(second)
            likeness = hash_likeness(one.hash, other.hash)
            # Equal fingerprints are paired already.
            if likeness >= _LEAST_LIKENESS and one.thumbnail != other.thumbnail:
                alike[first].append((-likeness, second))
        chosen = sorted(
            (second, first)
            for first, seconds in alike.items()
            for _, second in heapq.nsmallest(_COMPARED_THUMBNAILS, seconds)
        )
        for second, first in chosen:
            (one_id, one), (other_id, other) = reader.fetch(first), reader.fetch(second)
            # In one order, whatever the order of the places.
            if misfit(*sorted((one.thumbnail, other.thumbnail))) <= self._most_misfit:
                yield min(one_id, other_id), max(one_id, other_id)


class FindNearDuplicates(beam.PTransform):
    """Find slices that show the same picture.

    PCollection[FingerprintedSlice] -> PCollection[tuple[str, str]]: verified pairs of ids, the
    smaller first, each once. The slices of one picture are joined by pairs, though not each with
    each: `clusters` makes groups of them. Featureless slices are in no pair.

    The cost is linear in the number of slices, however many of them are alike: what a slice is
    compared with is bounded in each bucket, and over all its buckets.
    """

    def __init__(self, store: str, most_misfit: float = SAME_PICTURE):
        """Say where the fingerprints are, and how much two slices may differ.

        Args:
          store: folder of a `fingerprint_store` with all fingerprints of the search.
          most_misfit: greatest `misfit` of a pair.
        """
        super().__init__()
        self._store = store
        self._most_misfit = most_misfit

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Add the search to the pipeline."""
        shown = pcoll | "DropFeatureless" >> beam.Filter(
            lambda one: not one.fingerprint.featureless
        )
        exact = (
            shown
            | "KeyByFingerprint" >> beam.Map(_by_exact_fingerprint)
            | "GroupByFingerprint" >> beam.GroupByKey()
            | "PairExact" >> beam.FlatMap(_pair_exact).with_outputs(_PAIRS, main=_SINGLE)
        )
        candidates = (
            exact[_SINGLE]
            | "IntoBuckets" >> beam.FlatMap(_into_buckets)
            | "GroupByShelf" >> beam.GroupByKey()
            | "ClosePairs" >> beam.FlatMap(_pairs_of_shelf)
        )
        verified = (
            candidates
            | "KeyByFile" >> beam.WithKeys(lambda pair: file_of(pair[0]))
            | "GroupByStoreFile" >> beam.GroupByKey()
            | "Verify" >> beam.ParDo(_Verify(self._store, self._most_misfit))
        )
        return [exact[_PAIRS], verified] | "AllPairs" >> beam.Flatten()
