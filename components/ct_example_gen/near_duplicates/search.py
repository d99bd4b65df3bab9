"""The near-duplicate search as a Beam transform: fingerprints in, verified pairs of ids out.

Slices with the very same fingerprint are paired first and go on as one or two of them. The rest
meets in the buckets of `hash_keys`, `bucket` picks the pairs that are worth a look, and `misfit`
looks. Only the last step sees thumbnails, and of each candidate pair one moves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import typing
from collections.abc import Iterable, Iterator

import apache_beam as beam

from components.ct_example_gen.near_duplicates.bucket import BucketEntry, close_pairs
from components.ct_example_gen.near_duplicates.fingerprint import Fingerprint, hash_likeness
from components.ct_example_gen.near_duplicates.hash_keys import KEY_BYTES, bucket_keys
from components.ct_example_gen.near_duplicates.misfit import SAME_PICTURE, misfit

# Likeness of two hashes below which their thumbnails are not compared. One picture and its crop by
# 3 % on several sides, its tone changed too, have at least 0.89.
_LEAST_LIKENESS = 0.85

# The table and eight bits of the key: a thousand shelves to share out among workers.
_SHELF_BYTES = 2

_NO_SERIES = bytes(8)

_PRINT = "print"
_PARTNERS = "partners"

_SINGLE = "single"
_PAIRS = "pairs"


@dataclasses.dataclass(frozen=True)
class FingerprintedSlice:
    """A slice to be searched.

    Attributes:
      id: of the slice, unique in the search.
      series: of the slice; two slices of one series are different by construction and never a
        pair. Empty where unknown, which rules nothing out.
      fingerprint: of its pixels.
    """

    id: str
    series: str
    fingerprint: Fingerprint


class _Member(typing.NamedTuple):
    """A slice without its thumbnail, its bucket keys in a row."""

    id: str
    series: str
    hash: bytes
    keys: bytes


def _name(slice_id: str) -> bytes:
    """Twelve bytes for an id of any length: two of 10**9 ids meet with a chance of 10**-11."""
    return hashlib.blake2b(slice_id.encode(), digest_size=12).digest()


def _series_name(series: str) -> bytes:
    if not series:
        return _NO_SERIES
    return hashlib.blake2b(series.encode(), digest_size=8).digest()


def _by_exact_fingerprint(one: FingerprintedSlice) -> tuple[bytes, _Member]:
    whole = one.fingerprint.hash + one.fingerprint.thumbnail
    digest = hashlib.blake2b(whole, digest_size=16).digest()
    keys = b"".join(bucket_keys(one.fingerprint.thumbnail))
    return digest, _Member(one.id, one.series, one.fingerprint.hash, keys)


def _pair_exact(
    digest_and_members: tuple[bytes, Iterable[_Member]],
) -> Iterator[_Member | beam.pvalue.TaggedOutput]:
    """Pair the slices of one fingerprint in a line, and pass on who stands for them."""
    first, *others = sorted(digest_and_members[1])
    yield first
    # Who is paired with the slices of the first one's series.
    second = next((one for one in others if _may_pair(first, one)), None)
    if second is None:
        # Different by construction, each to be searched for itself.
        yield from others
        return
    if second.series != first.series:
        yield second
    for one in others:
        partner = first if _may_pair(first, one) else second
        yield beam.pvalue.TaggedOutput(_PAIRS, (min(one.id, partner.id), max(one.id, partner.id)))


def _may_pair(one: _Member, other: _Member) -> bool:
    return one.id != other.id and (not one.series or one.series != other.series)


def _into_buckets(member: _Member) -> Iterator[tuple[bytes, bytes]]:
    """A slice's entries, keyed by shelf: the buckets whose keys begin alike.

    A runner that keeps groups in memory pays more for a key than for an entry, and most buckets
    hold one slice.
    """
    entry = BucketEntry.of(_name(member.id), _series_name(member.series), member.hash).pack()
    for start in range(0, len(member.keys), KEY_BYTES):
        key = member.keys[start : start + KEY_BYTES]
        yield key[:_SHELF_BYTES], key[_SHELF_BYTES:] + entry


def _pairs_of_shelf(shelf_and_entries: tuple[bytes, Iterable[bytes]]) -> Iterator:
    shelf, entries = shelf_and_entries
    rest = KEY_BYTES - _SHELF_BYTES
    for _, bucket in itertools.groupby(sorted(entries), key=lambda entry: entry[:rest]):
        yield from close_pairs(shelf[0], [entry[rest:] for entry in bucket])


_Print = tuple[str, bytes, bytes]


def _with_print(one: FingerprintedSlice) -> tuple[bytes, _Print]:
    return _name(one.id), (one.id, one.fingerprint.hash, one.fingerprint.thumbnail)


def _send_to_partners(
    name_and_parts: tuple[bytes, dict[str, Iterable]],
) -> Iterator[tuple[bytes, _Print]]:
    """Send a slice's fingerprint to those it is to be compared with, once to each."""
    _, parts = name_and_parts
    partners = set(parts[_PARTNERS])
    for fingerprint in parts[_PRINT]:
        for partner in sorted(partners):
            yield partner, fingerprint


def _same_picture(one: _Print, other: _Print, most_misfit: float) -> bool:
    (_, first_hash, first_thumbnail), (_, second_hash, second_thumbnail) = sorted((one, other))
    return (
        hash_likeness(first_hash, second_hash) >= _LEAST_LIKENESS
        # Equal fingerprints are paired already.
        and first_thumbnail != second_thumbnail
        and misfit(first_thumbnail, second_thumbnail) <= most_misfit
    )


def _verify(
    name_and_parts: tuple[bytes, dict[str, Iterable]], most_misfit: float
) -> Iterator[tuple[str, str]]:
    _, parts = name_and_parts
    for here in parts[_PRINT]:
        for there in parts[_PARTNERS]:
            if _same_picture(here, there, most_misfit):
                yield min(here[0], there[0]), max(here[0], there[0])


class FindNearDuplicates(beam.PTransform):
    """Find slices that show the same picture.

    PCollection[FingerprintedSlice] -> PCollection[tuple[str, str]]: verified pairs of ids, the
    smaller first, each once. The slices of one picture are joined by pairs, though not each with
    each: `clusters` makes groups of them. Featureless slices are in no pair.

    The cost is linear in the number of slices, however many of them are alike.
    """

    def __init__(self, most_misfit: float = SAME_PICTURE):
        """Set how much two slices may differ.

        Args:
          most_misfit: greatest `misfit` of a pair.
        """
        super().__init__()
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
        prints = shown | "KeyPrints" >> beam.Map(_with_print)
        sent = (
            {_PRINT: prints, _PARTNERS: candidates}
            | "JoinFirst" >> beam.CoGroupByKey()
            | "SendToPartners" >> beam.FlatMap(_send_to_partners)
        )
        verified = (
            {_PRINT: prints, _PARTNERS: sent}
            | "JoinSecond" >> beam.CoGroupByKey()
            | "Verify" >> beam.FlatMap(_verify, self._most_misfit)
        )
        return [exact[_PAIRS], verified] | "AllPairs" >> beam.Flatten()
