"""Which statistics a run's are compared with: those that passed validation last, save its own."""

from __future__ import annotations

import ml_metadata
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.components.common import resolver

from components.baseline.rolled_back_statistics import rolled_back_statistics
from components.slice_validator.executor import STATISTICS_ID

CANDIDATE = "candidate"
STATISTICS = "statistics"
ANOMALIES = "anomalies"


def _last_used(store: ml_metadata.MetadataStore, anomalies: list[types.Artifact]) -> dict[int, int]:
    """The last execution that put out each artifact, a cached one included, by artifact id."""
    outputs = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
    last: dict[int, int] = {}
    for event in store.get_events_by_artifact_ids([one.id for one in anomalies]):
        if event.type in outputs:
            last[event.artifact_id] = max(last.get(event.artifact_id, 0), event.execution_id)
    return last


class LastOtherAcceptedStatistics(resolver.ResolverStrategy):
    """Resolve the statistics that passed validation last, leaving the candidate's own out.

    A run whose data broke the schema leaves no anomalies, so that it is passed over; so is one
    whose model was rolled back from, because its data may be what was wrong with it. Leaving the
    candidate out gives a repeated run the same baseline as before, so that it comes from the cache.
    """

    def resolve_artifacts(
        self, store: ml_metadata.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Pick the baseline.

        Args:
          store: tells when a validation was used last, and of rollbacks.
          input_dict: `candidate` (one run's statistics), and all of `statistics` and `anomalies`.

        Returns:
          `statistics` with one artifact or none, beside the candidate.
        """
        candidates = input_dict[CANDIDATE]
        left_out = {candidate.id for candidate in candidates} | rolled_back_statistics(store)
        statistics = {one.id: one for one in input_dict[STATISTICS]}
        last_used = _last_used(store, input_dict[ANOMALIES])
        ordered = sorted(
            input_dict[ANOMALIES], key=lambda one: (last_used.get(one.id, 0), one.id), reverse=True
        )
        for anomalies in ordered:
            accepted = anomalies.get_int_custom_property(STATISTICS_ID)
            if accepted in statistics and accepted not in left_out:
                return {
                    CANDIDATE: candidates,
                    STATISTICS: [statistics[accepted]],
                    ANOMALIES: [anomalies],
                }
        return {CANDIDATE: candidates, STATISTICS: [], ANOMALIES: []}
