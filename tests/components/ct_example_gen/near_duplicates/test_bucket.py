"""Which slices of a bucket are worth a look."""

import numpy as np
import pytest

from components.ct_example_gen.near_duplicates import bucket
from components.ct_example_gen.near_duplicates.bucket import BucketEntry, close_pairs
from components.ct_example_gen.near_duplicates.fingerprint import HASH_SIZE
from components.ct_example_gen.near_duplicates.hash_keys import (
    BITS_A_KEY,
    KEY_BYTES,
    MOST_KEYS,
    TABLES,
    bit_order,
    bucket_keys,
)


def name(number):
    return number.to_bytes(12)


def packed(number, levels, series=bytes(8)):
    return BucketEntry.of(name(number), series, np.asarray(levels, np.int8).tobytes()).pack()


@pytest.fixture
def levels():
    drawn = np.random.default_rng(5).integers(1, 100, HASH_SIZE)
    return drawn * np.random.default_rng(6).choice([-1, 1], HASH_SIZE)


def turned(levels, bits):
    changed = levels.copy()
    changed[list(bits)] *= -1
    return changed


def test_a_slice_has_few_short_keys(chests, print_of_hu):
    for hu in chests:
        keys = bucket_keys(print_of_hu(hu).thumbnail)
        assert TABLES <= len(keys) == len(set(keys)) <= MOST_KEYS <= 24
        assert {len(key) for key in keys} == {KEY_BYTES}


def test_every_table_reads_every_bit_once_and_its_own_first():
    orders = [bit_order(table) for table in range(TABLES)]
    assert all(sorted(order) == list(range(HASH_SIZE)) for order in orders)
    assert len({tuple(sorted(order[:BITS_A_KEY])) for order in orders}) == TABLES


def test_close_hashes_are_paired_and_distant_ones_are_not(levels):
    close = turned(levels, range(bucket.MOST_TURNED_BITS))
    distant = turned(levels, range(HASH_SIZE - bucket.MOST_TURNED_BITS - 1, HASH_SIZE))
    entries = [packed(1, levels), packed(2, close), packed(3, distant)]
    assert list(close_pairs(0, entries)) == [(name(1), name(2), bucket.MOST_TURNED_BITS)]


def test_slices_of_one_series_are_never_paired(levels):
    series = b"series-1"
    assert not list(close_pairs(0, [packed(1, levels, series), packed(2, levels, series)]))
    assert list(close_pairs(0, [packed(1, levels, series), packed(2, levels, b"series-2")]))
    assert list(close_pairs(0, [packed(1, levels), packed(2, levels)]))


def test_the_order_of_a_bucket_does_not_matter(levels):
    random = np.random.default_rng(1)
    entries = [
        packed(number, turned(levels, random.choice(HASH_SIZE, 6, replace=False)))
        for number in range(300)
    ]
    pairs = set(close_pairs(2, entries))
    assert pairs
    random.shuffle(entries)
    assert set(close_pairs(2, entries)) == pairs


def test_a_bucket_of_equal_hashes_costs_as_much_a_slice_as_it_grows(levels, monkeypatch):
    compared = []
    count = np.bitwise_count
    monkeypatch.setattr(
        bucket.np, "bitwise_count", lambda bits: compared.append(len(bits)) or count(bits)
    )
    for size in (1_000, 10_000):
        compared.clear()
        pairs = list(close_pairs(0, [packed(number, levels) for number in range(size)]))
        assert sum(compared) <= bucket.COMPARED * size
        assert len(pairs) <= bucket.VERIFIED * size
        # A chain through all of them.
        assert {(name(n), name(n + 1), 0) for n in range(size - 1)} <= set(pairs)


def test_the_closest_is_found_in_a_bucket_of_thousands(levels):
    random = np.random.default_rng(2)
    others = random.integers(-100, 100, (4_000, HASH_SIZE))
    head = bit_order(1)[:BITS_A_KEY]
    others[:, head] = levels[head]
    entries = [packed(number, other) for number, other in enumerate(others)]
    entries += [packed(9_000, levels), packed(9_001, turned(levels, bit_order(1)[-5:]))]
    assert (name(9_000), name(9_001), 5) in set(close_pairs(1, entries))
