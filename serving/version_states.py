"""What became of each version of a model: the states that GetModelStatus reports."""

from __future__ import annotations

import dataclasses
import threading

from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import get_model_status_pb2

State = get_model_status_pb2.ModelVersionStatus

# A server that runs for years remembers this many versions that have ended.
_REMEMBERED = 16


@dataclasses.dataclass(frozen=True)
class VersionState:
    """State of a version, as `ModelVersionStatus.State` numbers it, and what went wrong."""

    state: int
    error: str = ""


class VersionStates:
    """The last state of every version that was ever loaded; threads share it."""

    def __init__(self) -> None:
        self._states: dict[int, VersionState] = {}
        self._lock = threading.Lock()

    def set(self, version: int, state: int, error: str = "") -> None:
        """Note that a version is in a state now."""
        with self._lock:
            # Ended versions are forgotten in the order in which they ended.
            self._states.pop(version, None)
            self._states[version] = VersionState(state, error)
            ended = [number for number, one in self._states.items() if one.state == State.END]
            for number in ended[:-_REMEMBERED]:
                del self._states[number]

    def statuses(self, version: int | None = None) -> list[get_model_status_pb2.ModelVersionStatus]:
        """Messages for one version or all, newest version first; empty where none is known."""
        with self._lock:
            known = sorted(self._states.items(), reverse=True)
        statuses = []
        for number, one in known:
            if version in (None, number):
                status = State(version=number, state=one.state)
                status.status.error_code = (
                    error_codes_pb2.UNKNOWN if one.error else error_codes_pb2.OK
                )
                status.status.error_message = one.error
                statuses.append(status)
        return statuses
