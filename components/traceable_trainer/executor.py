"""The work of TraceableTrainer."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.trainer import executor as trainer
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils

from components.traceable_trainer.origin import origin


class Executor(trainer.GenericExecutor):
    """Trainer's executor, which notes the model's origin; `run_fn` sees paths, not artifacts."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Train, and write the origin into the model artifact's custom properties."""
        super().Do(input_dict, output_dict, exec_properties)
        config = json_utils.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        parents = input_dict.get(standard_component_specs.BASE_MODEL_KEY)
        parent = artifact_utils.get_single_instance(parents) if parents else None
        model = artifact_utils.get_single_instance(output_dict[standard_component_specs.MODEL_KEY])
        for name, value in origin(config, parent).items():
            if isinstance(value, int):
                model.set_int_custom_property(name, value)
            else:
                model.set_string_custom_property(name, value)
