"""Which models have been served, by what ML Metadata says of their pushes.

A blessing of the gate is not enough to be served: the trial in a server comes after it, and a run
may be killed in between.
"""

from __future__ import annotations

from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Event, Execution

from components.baseline.rollback_record import read_rollbacks

_PUSHED_MODEL, _PUSHED, _MODEL = "PushedModel", "pushed", "model"
_OUTPUTS = (Event.OUTPUT, Event.DECLARED_OUTPUT)
_INPUTS = (Event.INPUT, Event.DECLARED_INPUT)


def models_ever_pushed(store: MetadataStore) -> set[int]:
    """The ids of the models that a Pusher pushed, or that a rollback served again.

    What was pruned counts, too; so does what was rolled back from.
    """
    found = {one.model for one in read_rollbacks(store) if one.state == Execution.COMPLETE}
    pushes = [
        one.id
        for one in store.get_artifacts_by_type(_PUSHED_MODEL)
        if one.custom_properties[_PUSHED].int_value == 1
    ]
    if not pushes:
        return found
    pushers = {
        event.execution_id
        for event in store.get_events_by_artifact_ids(pushes)
        if event.type in _OUTPUTS
    }
    return found | {
        event.artifact_id
        for event in store.get_events_by_execution_ids(pushers)
        if event.type in _INPUTS and event.path.steps and event.path.steps[0].key == _MODEL
    }
