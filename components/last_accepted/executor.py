"""The work of LastAccepted."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.types.artifact import PropertyType

from components.last_accepted.record import ABSENT, MODEL, STATISTICS, recall


class Executor(base_executor.BaseExecutor):
    """Executor of LastAccepted."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Have the outputs be the artifacts of the record, or marked as absent."""
        self._log_startup(input_dict, output_dict, exec_properties)
        for name in (MODEL, STATISTICS):
            artifact = artifact_utils.get_single_instance(output_dict[name])
            accepted = recall(exec_properties["folder"], name)
            if accepted is None:
                artifact.set_int_custom_property(ABSENT, 1)
                continue
            artifact.uri = accepted.uri
            for key, value in accepted.metadata.items():
                declared = (artifact.PROPERTIES or {}).get(key)
                if declared is not None:
                    # JSON knows one kind of number.
                    whole = declared.type is PropertyType.INT
                    setattr(artifact, key, int(value) if whole else value)
                elif isinstance(value, str):
                    artifact.set_string_custom_property(key, value)
                elif isinstance(value, int | float):
                    artifact.set_float_custom_property(key, value)
