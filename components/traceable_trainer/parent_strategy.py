"""Which model a training begins with: the one served last, save where the training is repeated."""

from __future__ import annotations

import ml_metadata
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.components.common import resolver
from tfx.orchestration.portable.mlmd import event_lib, execution_lib
from tfx.types import standard_component_specs

from components.baseline.strategy import (
    MODEL,
    MODEL_BLESSING,
    newest_blessed_first,
    that_were_served,
)

EXAMPLES = "examples"


class LastBlessedParent(resolver.ResolverStrategy):
    """Resolve the served model that was blessed last; for a repeated training, the parent it had.

    A model that a run made and that was blessed would otherwise be the parent of the same run's
    repetition, which could then not come from the cache, and would be blessed in its turn. For the
    same reason a repeated training keeps a parent that was rolled back from since; a new one never
    begins with such a model, nor with one that was blessed and not pushed.
    """

    def __init__(self, custom_config: str):
        """Say which training asks.

        Args:
          custom_config: of the Trainer, as its execution keeps it: with the examples, it says
            whether two trainings are the same.
        """
        self._custom_config = custom_config

    def _repeated(
        self, store: ml_metadata.MetadataStore, examples: list[types.Artifact]
    ) -> metadata_store_pb2.Execution | None:
        """The newest finished training of the same configuration on the same examples."""
        ids = {
            event.execution_id
            for event in store.get_events_by_artifact_ids([one.id for one in examples])
            if event_lib.is_valid_input_event(event, EXAMPLES)
        }
        finished = [
            execution
            for execution in store.get_executions_by_id(ids)
            if execution_lib.is_execution_successful(execution)
            and execution.custom_properties[standard_component_specs.CUSTOM_CONFIG_KEY].string_value
            == self._custom_config
        ]
        return max(finished, key=lambda execution: execution.id, default=None)

    def resolve_artifacts(
        self, store: ml_metadata.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Pick the parent.

        Args:
          store: tells of earlier trainings, pushes and rollbacks.
          input_dict: `examples` (what is trained on), and all of `model` and `model_blessing`.

        Returns:
          `model` with one model or none, beside the examples.
        """
        examples = input_dict[EXAMPLES]
        repeated = self._repeated(store, examples)
        models = input_dict[MODEL]
        blessed = newest_blessed_first(
            that_were_served(store, models) if repeated is None else models,
            input_dict[MODEL_BLESSING],
        )
        if repeated is None:
            pairs = list(blessed)[:1]
        else:
            had = {
                event.artifact_id
                for event in store.get_events_by_execution_ids([repeated.id])
                if event_lib.is_valid_input_event(event, standard_component_specs.BASE_MODEL_KEY)
            }
            pairs = [pair for pair in blessed if pair[0].id in had][:1]
        return {
            EXAMPLES: examples,
            MODEL: [model for model, _ in pairs],
            MODEL_BLESSING: [blessing for _, blessing in pairs],
        }
