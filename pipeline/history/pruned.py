"""What the history keeps of an evaluation whose folder was pruned: a property of its artifact."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from ml_metadata.proto.metadata_store_pb2 import Artifact

from pipeline.history.index import text_of

_PROPERTY = "pruned_record"


@dataclasses.dataclass(frozen=True)
class PrunedRecord:
    """Figures of a run whose folders are gone.

    Attributes:
      metrics: as in `PastRun`.
      failed_bounds: likewise.
      refused: likewise.
    """

    metrics: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    failed_bounds: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    refused: str | None = None

    def write(self, artifact: Artifact) -> None:
        """Note it with the artifact."""
        artifact.custom_properties[_PROPERTY].string_value = json.dumps(dataclasses.asdict(self))


def read_pruned_record(artifact: Artifact | None) -> PrunedRecord | None:
    """What was kept of an artifact; None where it was not pruned."""
    text = text_of(artifact, _PROPERTY)
    return None if text is None else PrunedRecord(**json.loads(text))
