"""The model card's artifact and the name of its file."""

from tfx.types import artifact

MODEL_CARD = "model_card.md"


class ModelCard(artifact.Artifact):
    """Artifact: a folder with `model_card.md`."""

    TYPE_NAME = "ctnet.ModelCard"
