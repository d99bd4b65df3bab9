"""The model that a server answers for: its version in service, and how the next takes over."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import weakref
from collections.abc import Iterator

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.loaded_model import LoadedModel
from serving.request_error import RequestError, invalid
from serving.version_states import State, VersionStates


@dataclasses.dataclass(eq=False)
class _InService:
    model: LoadedModel
    leases: int = 0
    retired: bool = False


class ServedModels:
    """One model by name, of which one version is in service; threads share it.

    A call takes a lease on the version that answers it. A version that was replaced ends when its
    last lease does, so that a swap fails no call.

    Attributes:
      name: the model's name.
      states: what became of each version.
    """

    def __init__(self, name: str):
        self.name = name
        self.states = VersionStates()
        self._lock = threading.Lock()
        self._current: _InService | None = None
        self._ended: list[weakref.ref[LoadedModel]] = []

    @property
    def version(self) -> int | None:
        """The number of the version in service; None before the first."""
        current = self._current
        return None if current is None else current.model.version

    def take_ended(self) -> list[weakref.ref[LoadedModel]]:
        """Versions that were replaced and answer no call any more, each once."""
        with self._lock:
            ended, self._ended = self._ended, []
        return ended

    def swap(self, model: LoadedModel) -> None:
        """Answer calls with this version from now on."""
        self.states.set(model.version, State.AVAILABLE)
        with self._lock:
            old, self._current = self._current, _InService(model)
            if old is not None:
                self.states.set(old.model.version, State.UNLOADING)
                old.retired = True
                ended = not old.leases
        if old is not None and ended:
            self._end(old)

    @contextlib.contextmanager
    def lease(self, spec: model_pb2.ModelSpec) -> Iterator[LoadedModel]:
        """The version that answers a call with this spec, kept in memory until the block ends.

        Raises:
          RequestError: NOT_FOUND for an unknown model or version, INVALID_ARGUMENT for a spec
            without a name or with a version label (labels are given in TF Serving's own
            configuration, which this server does not have), UNAVAILABLE before the first version.
        """
        self._check_name(spec)
        with self._lock:
            leased = self._find(spec)
            leased.leases += 1
        try:
            yield leased.model
        finally:
            with self._lock:
                leased.leases -= 1
                ended = leased.retired and not leased.leases
            if ended:
                self._end(leased)

    def statuses(self, spec: model_pb2.ModelSpec) -> list[get_model_status_pb2.ModelVersionStatus]:
        """The states of the version that a spec names, or of all, newest first.

        Raises:
          RequestError: as `lease`; a version that ended has a state still.
        """
        self._check_name(spec)
        wanted = spec.version.value if spec.HasField("version") else None
        statuses = self.states.statuses(wanted)
        if not statuses:
            missing = "versions" if wanted is None else f"version {wanted}"
            raise RequestError(
                grpc.StatusCode.NOT_FOUND, f"could not find {missing} of model {self.name!r}"
            )
        return statuses

    def _check_name(self, spec: model_pb2.ModelSpec) -> None:
        if not spec.name:
            raise invalid("the request's model_spec names no model")
        if spec.name != self.name:
            raise RequestError(
                grpc.StatusCode.NOT_FOUND, f"no model {spec.name!r} here; this serves {self.name!r}"
            )
        if spec.HasField("version_label"):
            raise invalid(f"no version label {spec.version_label!r}; ask by version number")

    def _find(self, spec: model_pb2.ModelSpec) -> _InService:
        current = self._current
        if current is None:
            raise RequestError(
                grpc.StatusCode.UNAVAILABLE, f"no version of model {self.name!r} is loaded yet"
            )
        if spec.HasField("version") and spec.version.value != current.model.version:
            raise RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"no version {spec.version.value} of model {self.name!r} here; this serves"
                f" {current.model.version}",
            )
        return current

    def _end(self, old: _InService) -> None:
        # After a rollback and back again, the same number may be in service anew.
        if old.model.version != self.version:
            self.states.set(old.model.version, State.END)
        with self._lock:
            self._ended.append(weakref.ref(old.model))
