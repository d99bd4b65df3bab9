"""Clusters of slices: pairs joined into sets that share no slice, in parts that can be merged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam


class Clusters:
    """Sets of ids joined by pairs (a union-find); holds no id that is in no pair."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()):
        """Join `pairs`."""
        self._parent: dict[str, str] = {}
        for first, second in pairs:
            self.join(first, second)

    def __len__(self) -> int:
        """How many ids there are."""
        return len(self._parent)

    def _root(self, member: str) -> str:
        parent = self._parent
        parent.setdefault(member, member)
        while parent[member] != member:
            # Halving the path keeps it short without a second pass.
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    def join(self, first: str, second: str) -> None:
        """Put two ids, and all that was joined with either, into one cluster."""
        # The smaller id becomes the root, so that the representative needs no search and depends
        # on no order.
        low, high = sorted((self._root(first), self._root(second)))
        self._parent[high] = low

    def merge(self, other: Clusters) -> None:
        """Take over what another part has joined."""
        for member, parent in other._parent.items():
            self.join(member, parent)

    def representatives(self) -> dict[str, str]:
        """The smallest id of its cluster, for every id."""
        return {member: self._root(member) for member in self._parent}

    def groups(self) -> Iterator[list[str]]:
        """The clusters, each sorted, in the order of their smallest ids."""
        members: dict[str, list[str]] = {}
        for member, representative in sorted(self.representatives().items()):
            members.setdefault(representative, []).append(member)
        for representative in sorted(members):
            yield members[representative]


class ClusterPairs(beam.CombineFn):
    """Combine pairs of ids into one `{id: smallest id of its cluster}`.

    The result holds only ids that are in a pair, and depends on no order.
    """

    def create_accumulator(self) -> Clusters:
        """An empty part."""
        return Clusters()

    def add_input(self, mutable_accumulator: Clusters, element: tuple[str, str]) -> Clusters:
        """Join one pair."""
        mutable_accumulator.join(*element)
        return mutable_accumulator

    def merge_accumulators(self, accumulators: Iterable[Clusters]) -> Clusters:
        """Join the parts of several workers."""
        merged = Clusters()
        for part in accumulators:
            merged.merge(part)
        return merged

    def extract_output(self, accumulator: Clusters) -> dict[str, str]:
        """The representative of every id."""
        return accumulator.representatives()
