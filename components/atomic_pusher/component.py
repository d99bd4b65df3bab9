"""The contract of AtomicPusher: that of TFX's Pusher, and a model card."""

from __future__ import annotations

from collections.abc import Collection

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.atomic_pusher.executor import MODEL_CARD_KEY, ROLLED_BACK_FROM, Executor
from components.model_card_gen.artifact import ModelCard


class AtomicPusherSpec(standard_component_specs.PusherSpec):
    """Parameters, inputs and outputs of TFX's Pusher, and two parameters and one input more."""

    PARAMETERS = {  # noqa: RUF012 TFX reads these
        **standard_component_specs.PusherSpec.PARAMETERS,
        "code_version": component_spec.ExecutionParameter(type=str),
        ROLLED_BACK_FROM: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        **standard_component_specs.PusherSpec.INPUTS,
        MODEL_CARD_KEY: component_spec.ChannelParameter(type=ModelCard, optional=True),
    }


class AtomicPusher(base_component.BaseComponent):
    """Push a blessed model, with its card inside, to a numbered folder, whole or not at all.

    A model that is the newest version already is not pushed again, and one that was rolled back
    from is not pushed at all.

    Outputs:
      pushed_model: as of TFX's Pusher: whether, where to and as which version; and the archive.
        `rolled_back_from` is 1 where that is why it was not pushed.
    """

    SPEC_CLASS = AtomicPusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        push_destination: pusher_pb2.PushDestination,
        code_version: str,
        model_blessing: types.BaseChannel | None = None,
        infra_blessing: types.BaseChannel | None = None,
        model_card: types.BaseChannel | None = None,
        rolled_back_from: Collection[int] = (),
    ):
        """Describe one push.

        Args:
          model: of the Trainer.
          push_destination: a folder of versions.
          code_version: changes when the code of the push does, so that the cache misses.
          model_blessing: of SliceEvaluator.
          infra_blessing: of ServingValidator.
          model_card: of ModelCardGen.
          rolled_back_from: ids of models that a rollback took out of serving.
        """
        # None where there was no rollback, so that it is no part of the cache's key.
        ids = json_utils.dumps(sorted(rolled_back_from)) if rolled_back_from else None
        super().__init__(
            spec=AtomicPusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                model_card=model_card,
                push_destination=push_destination,
                code_version=code_version,
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
                **{ROLLED_BACK_FROM: ids},
            )
        )
