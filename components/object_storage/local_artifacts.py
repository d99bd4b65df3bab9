"""What a step reads and writes in object storage, as local folders for the time of its work.

Our steps and most of TFX's libraries work on paths. Open-source Kubeflow Pipelines fetches a step's
inputs before it and stores its outputs after it, under folders that are named for the scheme; KFP's
own components rely on that. Elsewhere the same is done here, through TFX's file systems.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from components.object_storage.folders import (
    fetch_folder,
    is_remote,
    publish_folder,
    scheme_of,
    settle_times,
)

_FOLDER_OF_SCHEME = {"gs": "gcs", "minio": "minio", "s3": "s3"}


class LocalArtifacts:
    """Local folders for the artifacts of one step; those that are local already stay as they are.

    Example:
      artifacts = LocalArtifacts(Path("/tmp/step"), launcher=None)
      examples = artifacts.fetch("gs://bucket/examples")
      model = artifacts.place("gs://bucket/model")
      ...  # read `examples`, write `model`
      artifacts.publish()
    """

    def __init__(self, temporary: Path, launcher: Path | None):
        """Say where.

        Args:
          temporary: a folder for copies.
          launcher: the folder under which the launcher of open-source KFP keeps its copies, which
            is the root of the file system; None where no launcher fetches and stores.
        """
        self._temporary = temporary
        self._launcher = launcher
        self._placed: dict[str, str] = {}
        self._fetched: dict[str, str] = {}
        self._addresses: dict[str, str] = {}

    def _copy_of(self, uri: str) -> Path:
        # The same address has the same folder in every process.
        name = hashlib.sha256(uri.encode()).hexdigest()[:16]
        return self._temporary / name

    def _of_launcher(self, uri: str) -> Path | None:
        scheme = scheme_of(uri)
        if self._launcher is None or scheme not in _FOLDER_OF_SCHEME:
            return None
        return self._launcher / _FOLDER_OF_SCHEME[scheme] / uri.removeprefix(f"{scheme}://")

    def fetch(self, uri: str) -> str:
        """A local folder with what is at an address."""
        if not is_remote(uri):
            return uri
        if uri not in self._fetched:
            local = self._of_launcher(uri)
            if local is None:
                local = self._copy_of(uri)
                fetch_folder(uri, local)
            elif local.is_dir():
                settle_times(local)
            self._fetched[uri] = str(local)
            self._addresses[str(local)] = uri
        return self._fetched[uri]

    def place(self, uri: str) -> str:
        """A local folder for what is to be at an address."""
        if not is_remote(uri):
            return uri
        local = self._of_launcher(uri) or self._copy_of(uri)
        local.mkdir(parents=True, exist_ok=True)
        self._placed[str(local)] = uri
        self._addresses[str(local)] = uri
        return str(local)

    def address_of(self, path: str) -> str:
        """The address that a local folder stands for, or the path itself."""
        return self._addresses.get(path, path)

    def publish(self) -> None:
        """Store what was written, now that all of it is there; the launcher does so itself."""
        for local, uri in self._placed.items():
            if self._of_launcher(uri) is None and any(Path(local).iterdir()):
                publish_folder(local, uri)
