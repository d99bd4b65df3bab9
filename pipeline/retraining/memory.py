"""What `ctnet retrain` tried last, by the name of its configuration: whether there is anything new.

Beside it stands the data whose drift a person accepted, from before the run on it begins. It is a
file of its own because `summary.json` and the metadata tell of the last run, which may have failed,
or may have been a `ctnet run` on other data.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Retraining:
    """A retraining that came to its end.

    Attributes:
      fingerprint: of the manifests and the files that they name.
      span: the newest that was read; None where the data is one manifest.
      verdict: `pushed` or `not_blessed`.
      ended: local time, ISO 8601.
      alarm_refused: whether a leak alarm that nobody had accepted was among the reasons against it.
      pruned: whether the pruning after it came to its end.
    """

    fingerprint: str
    span: int | None
    verdict: str
    ended: str
    alarm_refused: bool
    pruned: bool = False


_ACCEPTED_DRIFT = "accepted_drift"


def now() -> str:
    """The local time, ISO 8601."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _read_all(file: Path) -> dict[str, dict]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Never written, or damaged: the worst is a run that comes from the cache.
        return {}
    return found if isinstance(found, dict) else {}


def _read_one(file: Path, name: str) -> dict:
    found = _read_all(file).get(name)
    return found if isinstance(found, dict) else {}


def _write(file: Path, name: str, entry: dict) -> None:
    content = {**_read_all(file), name: entry}
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def last_retraining(file: Path, name: str) -> Retraining | None:
    """What the last retraining of a name tried; None where there was none."""
    entry = _read_one(file, name)
    entry.pop(_ACCEPTED_DRIFT, None)
    try:
        return Retraining(**entry)
    except TypeError:
        return None


def remember_retraining(file: Path, name: str, retraining: Retraining) -> None:
    """Note what a retraining tried, whole or not at all.

    Raises:
      OSError: it cannot be written; what was there is as it was.
    """
    # Accepted drift stays so: trying the same data once more meets it once more.
    _write(file, name, {**_read_one(file, name), **dataclasses.asdict(retraining)})


def accepts_drift_of(file: Path, name: str, fingerprint: str) -> bool:
    """Whether a person has accepted the drift of this data."""
    return _read_one(file, name).get(_ACCEPTED_DRIFT) == fingerprint


def accept_drift_of(file: Path, name: str, fingerprint: str) -> None:
    """Note that a person accepts the drift of this data, and of no other any more.

    Raises:
      OSError: it cannot be written.
    """
    _write(file, name, {**_read_one(file, name), _ACCEPTED_DRIFT: fingerprint})
