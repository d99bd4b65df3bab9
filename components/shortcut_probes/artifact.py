"""The probes' artifact."""

from tfx.types import artifact


class ShortcutProbes(artifact.Artifact):
    """Artifact: a folder with `probes.json` (see `outcome`)."""

    TYPE_NAME = "ctnet.ShortcutProbes"
