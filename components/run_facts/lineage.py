"""What a model was made from, as its artifact says (see `traceable_trainer.origin`)."""

from __future__ import annotations

import dataclasses

from tfx import types

from components.traceable_trainer import origin


@dataclasses.dataclass(frozen=True)
class Lineage:
    """Where a model comes from; None where its artifact does not say.

    Attributes:
      data_fingerprint: of the manifests and the files that they name.
      code_version: of the code that trained it.
      weights: what the backbone began with; None where there is a parent.
      parent: the folder of the model that training began with.
    """

    data_fingerprint: str | None = None
    code_version: str | None = None
    weights: str | None = None
    parent: str | None = None


def read_lineage(model: types.Artifact) -> Lineage:
    """The lineage of a model's artifact."""

    def said(name: str) -> str | None:
        return model.get_string_custom_property(name) or None

    return Lineage(
        data_fingerprint=said(origin.DATA_FINGERPRINT),
        code_version=said(origin.CODE_VERSION),
        weights=said(origin.WEIGHTS),
        parent=said(origin.PARENT_URI),
    )
