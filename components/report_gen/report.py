"""The report's artifact and the names of its files."""

from tfx.types import artifact

INDEX = "index.html"


class Report(artifact.Artifact):
    """Artifact: a folder with `index.html`, which needs no other file, and `model_card.md`."""

    TYPE_NAME = "ctnet.Report"
