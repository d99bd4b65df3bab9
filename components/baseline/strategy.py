"""Which model a candidate is compared with: the last blessed and pushed one but the candidate."""

from __future__ import annotations

from collections.abc import Iterator

import ml_metadata
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.common import resolver

from components.baseline.pushed_models import models_ever_pushed
from components.baseline.rollback_record import rolled_back_from

CANDIDATE = "candidate"
MODEL = "model"
MODEL_BLESSING = "model_blessing"


def newest_blessed_first(
    models: list[types.Artifact],
    blessings: list[types.Artifact],
) -> Iterator[tuple[types.Artifact, types.Artifact]]:
    """Blessed models with their blessings; the order is that of blessing, not of training.

    A rollback blesses the model that it serves again, so that it comes first.

    Args:
      models: all there are.
      blessings: likewise.
    """
    by_id = {model.id: model for model in models}
    for blessing in sorted(blessings, key=lambda one: one.id, reverse=True):
        model = by_id.get(
            blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY)
        )
        blessed = blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY)
        if model is not None and blessed == constants.BLESSED_VALUE:
            yield model, blessing


def that_were_served(
    store: ml_metadata.MetadataStore, models: list[types.Artifact]
) -> list[types.Artifact]:
    """The models that have been served, without those that were rolled back from.

    The gate's blessing is not enough: the trial in a server may have refused the model after it.
    """
    served = models_ever_pushed(store) - set(rolled_back_from(store))
    return [model for model in models if model.id in served]


class LastOtherBlessedModel(resolver.ResolverStrategy):
    """Resolve the served model that was blessed last, leaving the candidate itself out.

    With TFX's own LatestBlessedModelStrategy a repeated run finds the model that its first run
    blessed, compares that model with itself, and pushes it again. Leaving the candidate out gives
    a repeated run the same baseline as before, so that it comes from the cache; and a candidate
    that was blessed long ago still meets the one that is served now. A model that was never pushed,
    or was rolled back from, is not served, so that nothing is compared with it.
    """

    def resolve_artifacts(
        self, store: ml_metadata.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Pick the baseline.

        Args:
          store: tells of pushes and rollbacks.
          input_dict: `candidate` (one model), and all of `model` and `model_blessing`.

        Returns:
          `model` with one model or none, beside the candidate.
        """
        candidates = input_dict[CANDIDATE]
        for model, blessing in newest_blessed_first(
            that_were_served(store, input_dict[MODEL]), input_dict[MODEL_BLESSING]
        ):
            if all(candidate.id != model.id for candidate in candidates):
                return {CANDIDATE: candidates, MODEL: [model], MODEL_BLESSING: [blessing]}
        return {CANDIDATE: candidates, MODEL: [], MODEL_BLESSING: []}
