"""The origin of a model: the properties of its artifact that say what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfx import types

from transform.package_versions import package_versions

SEED = "seed"
CODE_VERSION = "code_version"
DATA_FINGERPRINT = "data_fingerprint"
WEIGHTS = "weights"
"""What the backbone began with; absent where the model has a parent."""
PARENT_ID = "parent_id"
"""The artifact of the model that training began with."""
PARENT_URI = "parent_uri"


def origin(config: Mapping[str, Any], parent: types.Artifact | None) -> dict[str, str | int]:
    """What a model is made from.

    Args:
      config: what the Trainer is given, with `seed`, `code_version` and `weights`, and
        `data_fingerprint`, which may be empty where the data is not known beforehand.
      parent: the model that training begins with, or None.

    Returns:
      Values by name of the property; versions by name of the package.
    """
    properties: dict[str, str | int] = {
        SEED: config[SEED],
        CODE_VERSION: config[CODE_VERSION],
        **package_versions(),
    }
    if config[DATA_FINGERPRINT]:
        properties[DATA_FINGERPRINT] = config[DATA_FINGERPRINT]
    if parent is None:
        properties[WEIGHTS] = config[WEIGHTS]
    else:
        properties[PARENT_ID] = parent.id
        properties[PARENT_URI] = parent.uri
    return properties
