"""Which model versions a server answers for, and which one a request means."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from tensorflow_serving.apis import model_pb2

from serving.loaded_model import LoadedModel
from serving.request_error import RequestError, invalid


class ServedModels:
    """The versions of one model that can be asked.

    Attributes:
      name: the model's name.
    """

    def __init__(self, name: str, versions: Mapping[int, LoadedModel]):
        self.name = name
        self._versions = dict(versions)

    def matching(self, spec: model_pb2.ModelSpec) -> list[LoadedModel]:
        """The loaded versions that a spec names, oldest first: one, or all where it names none.

        Raises:
          RequestError: NOT_FOUND for an unknown model or version, INVALID_ARGUMENT for a spec
            without a name or with a version label (labels are given in TF Serving's own
            configuration, which this server does not have).
        """
        if not spec.name:
            raise invalid("the request's model_spec names no model")
        if spec.name != self.name:
            raise RequestError(
                grpc.StatusCode.NOT_FOUND, f"no model {spec.name!r} here; this serves {self.name!r}"
            )
        if spec.HasField("version_label"):
            raise invalid(f"no version label {spec.version_label!r}; ask by version number")
        wanted = [spec.version.value] if spec.HasField("version") else sorted(self._versions)
        if not set(wanted) <= set(self._versions):
            raise RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"no version {wanted[0]} of model {self.name!r} here; this serves"
                f" {', '.join(map(str, sorted(self._versions)))}",
            )
        return [self._versions[number] for number in wanted]

    def find(self, spec: model_pb2.ModelSpec) -> LoadedModel:
        """The version that a prediction with this spec is made by: the newest where it names none.

        Raises:
          RequestError: as `matching`.
        """
        return self.matching(spec)[-1]
