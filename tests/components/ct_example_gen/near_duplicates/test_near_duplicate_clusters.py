"""Pairs joined into clusters."""

import json

import apache_beam as beam
from hypothesis import given
from hypothesis import strategies as st

from components.ct_example_gen.near_duplicates import ClusterPairs, Clusters

IDS = st.integers(0, 14).map(lambda number: f"slice-{number:02d}")
PAIRS = st.lists(st.tuples(IDS, IDS), max_size=25)


def reached(pairs):
    """For each id of a pair the smallest one it is joined with, by walking the pairs."""
    neighbours = {}
    for first, second in pairs:
        neighbours.setdefault(first, set()).add(second)
        neighbours.setdefault(second, set()).add(first)
    representatives = {}
    for start in sorted(neighbours):
        waiting = [start]
        while waiting:
            member = waiting.pop()
            if member not in representatives:
                representatives[member] = start
                waiting.extend(neighbours[member])
    return representatives


@given(PAIRS)
def test_who_is_joined_by_any_chain_of_pairs_has_one_representative(pairs):
    assert Clusters(pairs).representatives() == reached(pairs)


@given(PAIRS, st.randoms(), st.integers(1, 5))
def test_parts_joined_on_different_workers_give_the_same_clusters(pairs, random, workers):
    shuffled = [pair if random.random() < 0.5 else pair[::-1] for pair in pairs]
    random.shuffle(shuffled)
    combine = ClusterPairs()
    parts = []
    for worker in range(workers):
        part = combine.create_accumulator()
        for pair in shuffled[worker::workers]:
            part = combine.add_input(part, pair)
        parts.append(part)
    random.shuffle(parts)
    merged = combine.merge_accumulators(parts)
    assert combine.extract_output(merged) == reached(pairs)


@given(PAIRS)
def test_groups_hold_every_id_of_a_pair_once(pairs):
    groups = list(Clusters(pairs).groups())
    members = [member for group in groups for member in group]
    assert sorted(members) == sorted({one for pair in pairs for one in pair})
    assert {member: group[0] for group in groups for member in group} == reached(pairs)


def test_a_long_chain_is_one_cluster_without_deep_recursion():
    chain = Clusters((f"{n + 1:06d}", f"{n:06d}") for n in reversed(range(20_000)))
    assert set(chain.representatives().values()) == {"000000"}
    assert len(chain) == 20_001


def test_clusters_come_out_of_a_beam_job(tmp_path):
    pairs = [("b", "c"), ("x", "y"), ("a", "b")]
    with beam.Pipeline(argv=["--runner=FnApiRunner", "--direct_num_workers=1"]) as pipeline:
        _ = (
            pipeline
            | beam.Create(pairs)
            | beam.CombineGlobally(ClusterPairs())
            | beam.Map(lambda found: (tmp_path / "found.json").write_text(json.dumps(found)))
        )
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}
