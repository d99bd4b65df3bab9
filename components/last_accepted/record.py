"""The record of what was accepted last: one small file for each kind, replaced as a whole.

Kubeflow's own look-up of earlier artifacts exists on Vertex AI only, and cannot tell accepted ones
from others.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import tensorflow as tf

from transform.errors import CtnetError
from transform.whole_file import write_whole

MODEL = "model"
"""The model that was blessed last."""
STATISTICS = "statistics"
"""The statistics that passed validation last."""

ABSENT = "absent"
"""Custom property of an artifact that stands for none, because nothing was accepted yet."""


@dataclasses.dataclass(frozen=True)
class Accepted:
    """An artifact of an earlier run.

    Attributes:
      uri: where it lies.
      metadata: its properties by name.
    """

    uri: str
    metadata: dict[str, Any]


def remember(folder: str, name: str, accepted: Accepted) -> None:
    """Note an artifact as the one accepted last.

    Args:
      folder: of the record, a path or an address that TensorFlow opens.
      name: `MODEL` or `STATISTICS`.
      accepted: the artifact.
    """
    text = json.dumps(dataclasses.asdict(accepted), indent=1, sort_keys=True)
    write_whole(f"{folder}/{name}.json", text.encode())


def recall(folder: str, name: str) -> Accepted | None:
    """The artifact accepted last, None where there is none yet.

    Raises:
      CtnetError: the record cannot be read.
    """
    path = f"{folder}/{name}.json"
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        text = file.read()
    try:
        return Accepted(**json.loads(text))
    except (ValueError, TypeError):
        raise CtnetError(
            f"{path}: no record of what was accepted last; remove it to begin anew without"
        ) from None
