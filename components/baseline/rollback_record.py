"""Rollbacks in ML Metadata: which model was served again, and which one made room for it.

A rollback is an execution of its own. It puts out a blessing of the model that it serves again, so
that whatever asks for the model that was blessed last finds that one.
"""

from __future__ import annotations

import dataclasses

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from ml_metadata.proto.metadata_store_pb2 import Execution

EXECUTION_TYPE = "ctnet.Rollback"
BLESSING = "blessing"
"""Key of the output."""

_MODEL, _VERSION, _FROM_MODEL, _FROM_VERSION = (
    "model_id",
    "version",
    "from_model_id",
    "from_version",
)


@dataclasses.dataclass(frozen=True)
class Rollback:
    """One rollback.

    Attributes:
      model: id of the artifact of the model that is served again.
      version: the number that it is published under.
      from_model: id of the model that was served before; None where it is not known here.
      from_version: that one's number.
      state: of the execution: complete, running (or killed), or failed (given up).
      when: it began, milliseconds since 1970.
      execution: its id; None where it is not recorded yet.
    """

    model: int
    version: str
    from_model: int | None
    from_version: str
    state: int = Execution.RUNNING
    when: int = 0
    execution: int | None = None


def as_execution(rollback: Rollback, type_id: int) -> Execution:
    """The execution that records a rollback."""
    execution = Execution(type_id=type_id, last_known_state=rollback.state)
    if rollback.execution is not None:
        execution.id = rollback.execution
    execution.custom_properties[_MODEL].int_value = rollback.model
    execution.custom_properties[_VERSION].string_value = rollback.version
    if rollback.from_model is not None:
        execution.custom_properties[_FROM_MODEL].int_value = rollback.from_model
    execution.custom_properties[_FROM_VERSION].string_value = rollback.from_version
    return execution


def read_rollbacks(store: MetadataStore) -> list[Rollback]:
    """All rollbacks of a store, oldest first."""
    found = store.get_executions_by_type(EXECUTION_TYPE)
    return [_as_rollback(one) for one in sorted(found, key=lambda one: one.id)]


def _as_rollback(execution: metadata_store_pb2.Execution) -> Rollback:
    said = execution.custom_properties
    return Rollback(
        model=said[_MODEL].int_value,
        version=said[_VERSION].string_value,
        from_model=said[_FROM_MODEL].int_value if _FROM_MODEL in said else None,
        from_version=said[_FROM_VERSION].string_value,
        state=execution.last_known_state,
        when=execution.create_time_since_epoch,
        execution=execution.id,
    )


def rolled_back_from(store: MetadataStore) -> dict[int, Rollback]:
    """The models that a rollback took out of serving, and no later one serves again, by their id.

    Rollbacks that did not come to their end do not count. One to a younger model undoes another,
    and says nothing against the older model that it takes the place of.
    """
    out: dict[int, Rollback] = {}
    for rollback in read_rollbacks(store):
        if rollback.state != Execution.COMPLETE:
            continue
        if rollback.from_model is not None and rollback.from_model > rollback.model:
            out[rollback.from_model] = rollback
        out.pop(rollback.model, None)
    return out
