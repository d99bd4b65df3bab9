"""Which pushed versions are there now, and whose model each of them holds."""

from __future__ import annotations

from pathlib import Path

from serving.model_versions import whole_versions

# Every export gets one of its own (see `atomic_pusher.executor`, whose import loads TensorFlow).
_FINGERPRINT = "fingerprint.pb"


def _fingerprint(model: Path) -> bytes | None:
    try:
        return (model / _FINGERPRINT).read_bytes()
    except OSError:
        return None


class VersionsThere:
    """The whole versions in a serving folder.

    Attributes:
      names: all of them, oldest first.
      newest: the highest number, which a server takes up; None where there is no version.
    """

    def __init__(self, serving: Path):
        """Look into a folder, which need not exist."""
        there = whole_versions(serving) if serving.is_dir() else []
        self._exports = {one.folder.name: _fingerprint(one.folder) for one in there}
        self.names = [one.folder.name for one in there]
        self.newest = self.names[-1] if there else None

    def that_hold(self, archive: Path, version: str | None = None) -> list[str]:
        """The versions that hold a model; a run from the cache may have pushed it again.

        Args:
          archive: what the Pusher kept of it.
          version: the number that it was pushed under, if it is known; tells it where fingerprints
            do not.
        """
        own = _fingerprint(archive)
        return [
            name
            for name, export in self._exports.items()
            if (export == own if None not in (export, own) else name == version)
        ]
