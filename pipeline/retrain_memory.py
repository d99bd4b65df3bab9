"""What `ctnet retrain` tried last, by the name of its configuration: whether there is anything new.

It is a file of its own because `summary.json` and the metadata tell of the last run, which may have
failed, or may have been a `ctnet run` on other data.
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
    """

    fingerprint: str
    span: int | None
    verdict: str
    ended: str
    alarm_refused: bool


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


def last_retraining(file: Path, name: str) -> Retraining | None:
    """What the last retraining of a name tried; None where there was none."""
    try:
        return Retraining(**_read_all(file)[name])
    except (KeyError, TypeError):
        return None


def remember_retraining(file: Path, name: str, retraining: Retraining) -> None:
    """Note what a retraining tried, whole or not at all."""
    content = {**_read_all(file), name: dataclasses.asdict(retraining)}
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
