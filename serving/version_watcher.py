"""Watching a model's folder: the newest whole version is loaded aside and then swapped in."""

from __future__ import annotations

import dataclasses
import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from serving.loaded_model import LoadedModel, unloadable
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

# The first pause before the same files are tried again, and the one that it grows to by doubling.
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 600.0


@dataclasses.dataclass
class _Failure:
    """A version that could not be loaded, without the error, whose frames would hold the model.

    Attributes:
      text: what went wrong.
      mark: the content that was tried.
      seen: the content last seen.
      pause: how long the same content is not tried again, in seconds.
      again_at: when it is, by the watcher's clock.
    """

    text: str
    mark: str
    seen: str
    pause: float
    again_at: float


class VersionWatcher:
    """Keeps the newest whole version of a folder in service, as TF Serving's Latest policy does.

    A version that cannot be loaded is named in the log, once for each reason, while the one in
    service goes on. It is tried again when its files have changed and rest, and with the same files
    (memory may have been short, or a network away) after a second, two, four, and so on up to ten
    minutes. Where the version in service vanished, the newest of the others takes over; where all
    vanished, it goes on.
    """

    def __init__(
        self,
        model_dir: Path,
        served: ServedModels,
        load: Callable[[ModelVersion], LoadedModel],
        *,
        pinned: int | None = None,
        poll_seconds: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Say what to watch; nothing is read yet.

        Args:
          model_dir: the folder of the numbered versions.
          served: gets the versions.
          load: makes a version ready to answer; raises where it cannot be.
          pinned: the only version to serve; None for the newest.
          poll_seconds: between two looks at the folder.
          clock: seconds that never go back.
        """
        self._model_dir = model_dir
        self._served = served
        self._load = load
        self._pinned = pinned
        self._poll_seconds = poll_seconds
        self._failures: dict[int, _Failure] = {}
        self._noted: dict[str, set[str]] = {}
        self._clock = clock
        self._leaving: list[weakref.ref[LoadedModel]] = []
        self._left_parts = False
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
            vanished = f"the model version {newest.folder} vanished while it was loaded"
            raise ConfigError(failure.text if failure else f"{vanished}: push it again")

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
                self._noted.pop("watch", None)
            except Exception as error:
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self._note("watch", f"cannot look at {self._model_dir} ({reason})", trace=True)
            self._stop.wait(self._poll_seconds)

    def _collect(self) -> None:
        """Free the memory of versions that ended or failed: a loaded graph refers to itself.

        One that ended may still be in use, by a batch whose callers have gone. It is looked for
        again until it has been gone for a whole turn.
        """
        self._leaving += self._served.take_ended()
        if self._leaving or self._left_parts:
            self._left_parts = False
            self._leaving = [ended for ended in self._leaving if ended() is not None]
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
        present = {"watch", *(str(version.number) for version in [*unfinished, *whole])}
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
            changed = mark != failure.mark
            if not (resting if changed else self._clock() >= failure.again_at):
                return False
        self._served.states.set(version.number, State.LOADING)
        try:
            model = self._load(version)
        # Whatever it is, the server goes on, and says so in one line.
        except Exception as error:
            reason = error if isinstance(error, ConfigError) else unloadable(version, error)
            self._fail(version, mark, str(reason), unexpected=reason is not error)
            return False
        replaced = self._served.version
        self._failures.pop(version.number, None)
        self._noted.pop(str(version.number), None)
        self._served.swap(model)
        if replaced is not None:
            _log.info("serving version %d instead of %d", version.number, replaced)
        self._first.set()
        return True

    def _fail(self, version: ModelVersion, mark: str, text: str, *, unexpected: bool) -> None:
        before = self._failures.get(version.number)
        pause = _FIRST_PAUSE_SECONDS
        if before is not None and before.mark == mark:
            pause = min(2.0 * before.pause, _LONGEST_PAUSE_SECONDS)
        self._failures[version.number] = _Failure(text, mark, mark, pause, self._clock() + pause)
        self._left_parts = True
        self._served.states.set(version.number, State.END, text)
        self._note(str(version.number), f"{text}; {self._in_service()}", trace=unexpected)

    def _in_service(self) -> str:
        version = self._served.version
        return "no version is served yet" if version is None else f"version {version} goes on"

    def _note(self, about: str, text: str, *, trace: bool = False) -> None:
        """Log a line once for as long as it stays true, with a trace of the error being handled."""
        noted = self._noted.setdefault(about, set())
        if text not in noted:
            noted.add(text)
            _log.warning("%s", text, exc_info=trace)
