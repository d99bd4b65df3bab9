"""Which statistics are of data whose model was rolled back from: data that nobody stands by."""

from __future__ import annotations

from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Event

from components.baseline.pushed_models import models_ever_pushed
from components.baseline.rollback_record import rolled_back_from

_OUTPUTS = (Event.OUTPUT, Event.DECLARED_OUTPUT)


def rolled_back_statistics(store: MetadataStore) -> set[int]:
    """The ids of statistics of runs whose model was rolled back from.

    Save those of data of which another run made a model that was pushed and stands.
    """
    out = set(rolled_back_from(store))
    if not out:
        return set()
    standing = models_ever_pushed(store) - out
    statistics = {one.id for one in store.get_artifacts_by_type("ExampleStatistics")}
    left_out: set[int] = set()
    accepted: set[int] = set()
    for run in store.get_contexts_by_type("pipeline_run"):
        executions = [one.id for one in store.get_executions_by_context(run.id)]
        events = store.get_events_by_execution_ids(executions) if executions else []
        made = {event.artifact_id for event in events if event.type in _OUTPUTS}
        if made & out:
            left_out |= made & statistics
        if made & standing:
            accepted |= made & statistics
    return left_out - accepted
