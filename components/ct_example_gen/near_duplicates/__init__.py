"""Near-duplicate search: which slices show the same picture, found without comparing all pairs."""

from components.ct_example_gen.near_duplicates.clusters import ClusterPairs, Clusters
from components.ct_example_gen.near_duplicates.fingerprint import Fingerprint, fingerprint
from components.ct_example_gen.near_duplicates.search import FindNearDuplicates, FingerprintedSlice

__all__ = [
    "ClusterPairs",
    "Clusters",
    "FindNearDuplicates",
    "Fingerprint",
    "FingerprintedSlice",
    "fingerprint",
]
