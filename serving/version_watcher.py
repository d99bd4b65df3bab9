"""Watching a model's folder: the newest whole version is loaded aside and then swapped in."""

from __future__ import annotations

import dataclasses
import gc
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from serving.loaded_model import LoadedModel
from serving.model_versions import (
    SAVED_MODEL_FILE,
    ModelVersion,
    content_mark,
    newest_version,
    unfinished_versions,
    whole_versions,
)
from serving.served_models import ServedModels
from serving.server_options import POLL_SECONDS
from serving.version_states import State
from transform.errors import ConfigError

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class _Failure:
    """A version that could not be loaded: with which content, and the content last seen."""

    error: ConfigError
    mark: str
    seen: str


class VersionWatcher:
    """Keeps the newest whole version of a folder in service, as TF Serving's Latest policy does.

    A version that cannot be loaded is named once in the log while the one in service goes on, and
    is tried again when its files have changed and rest. Where the version in service vanished, the
    newest of the others takes over; where all vanished, it goes on.
    """

    def __init__(
        self,
        model_dir: Path,
        served: ServedModels,
        load: Callable[[ModelVersion], LoadedModel],
        *,
        pinned: int | None = None,
        poll_seconds: float = POLL_SECONDS,
    ):
        """Say what to watch; nothing is read yet.

        Args:
          model_dir: the folder of the numbered versions.
          served: gets the versions.
          load: makes a version ready to answer; raises ConfigError where it cannot be.
          pinned: the only version to serve; None for the newest.
          poll_seconds: between two looks at the folder.
        """
        self._model_dir = model_dir
        self._served = served
        self._load = load
        self._pinned = pinned
        self._poll_seconds = poll_seconds
        self._failures: dict[int, _Failure] = {}
        self._noted: dict[str, str] = {}
        self._collected = 0
        self._first = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def load_first(self) -> None:
        """Load a version in the caller's thread: the newest, or the newest that can be loaded.

        Raises:
          ConfigError: there is no whole version, or none can be loaded.
        """
        newest = newest_version(self._model_dir, self._pinned)
        self.poll()
        if self._served.version is None:
            failure = self._failures.get(newest.number)
            raise (
                failure.error
                if failure
                else ConfigError(
                    f"the model version {newest.folder} vanished while it was loaded: push it again"
                )
            )

    def start(self) -> None:
        """Look at the folder again and again from now on, in a thread."""
        self._thread = threading.Thread(target=self._watch, name="version-watcher", daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Stop looking; a version that is being loaded is waited for that long."""
        self._stop.set()
        self._first.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def wait_for_version(self) -> None:
        """Block until a first version is in service, or the watcher is stopped."""
        self._first.wait()

    def poll(self) -> None:
        """Look at the folder once, and load and swap what is to be served now."""
        try:
            candidates = self._candidates()
        except ConfigError as error:
            self._note("folder", f"{error}; {self._in_service()}")
            return
        for version in candidates:
            if version.number == self._served.version:
                break
            if self._try(version):
                break
        else:
            if not candidates and self._served.version is not None:
                self._note(
                    "folder",
                    f"no whole version to serve under {self._model_dir}: version"
                    f" {self._served.version} goes on",
                )

    def _watch(self) -> None:
        while not self._stop.is_set():
            # Whatever happens to be in the folder, the server goes on and looks again.
            try:
                self.poll()
                self._collect()
            except Exception:
                _log.exception("cannot look at %s", self._model_dir)
            self._stop.wait(self._poll_seconds)

    def _collect(self) -> None:
        """Free the memory of versions that ended: a loaded graph refers to itself."""
        if self._served.unloaded != self._collected:
            self._collected = self._served.unloaded
            gc.collect()

    def _candidates(self) -> list[ModelVersion]:
        """The whole versions that may be served, newest first."""
        unfinished = [
            version
            for version in unfinished_versions(self._model_dir)
            if self._pinned in (None, version.number)
        ]
        whole = [
            version
            for version in whole_versions(self._model_dir)
            if self._pinned in (None, version.number)
        ]
        present = {str(version.number) for version in [*unfinished, *whole]}
        if not whole:
            present.add("folder")
        self._noted = {key: text for key, text in self._noted.items() if key in present}
        self._failures = {
            number: failure for number, failure in self._failures.items() if str(number) in present
        }
        for version in unfinished:
            self._note(
                str(version.number),
                f"version {version.number} is not served: {version.folder} has no"
                f" {SAVED_MODEL_FILE} yet",
            )
        return whole[::-1]

    def _try(self, version: ModelVersion) -> bool:
        """Load a version and swap it in, unless it failed before and is as it was."""
        mark = content_mark(version)
        failure = self._failures.get(version.number)
        if failure is not None:
            resting, failure.seen = mark == failure.seen, mark
            if mark == failure.mark or not resting:
                return False
        self._served.states.set(version.number, State.LOADING)
        try:
            model = self._load(version)
        except ConfigError as error:
            self._served.states.set(version.number, State.END, str(error))
            self._failures[version.number] = _Failure(error, mark, mark)
            self._note(str(version.number), f"{error}; {self._in_service()}")
            return False
        replaced = self._served.version
        self._failures.pop(version.number, None)
        self._noted.pop(str(version.number), None)
        self._served.swap(model)
        if replaced is not None:
            _log.info("serving version %d instead of %d", version.number, replaced)
        self._first.set()
        return True

    def _in_service(self) -> str:
        version = self._served.version
        return "no version is served yet" if version is None else f"version {version} goes on"

    def _note(self, about: str, text: str) -> None:
        """Log one line, once for as long as it stays true."""
        if self._noted.get(about) != text:
            self._noted[about] = text
            _log.warning("%s", text)
