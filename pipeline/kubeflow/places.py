"""Where a run on a cluster keeps what, and what cannot be kept there."""

from __future__ import annotations

from components.object_storage.folders import is_remote, scheme_of
from pipeline.config import RunConfig
from transform.errors import ConfigError

# What TensorFlow opens without further packages.
_OPENED = ("", "gs")


def home_of(config: RunConfig, root: str) -> str:
    """What outlives runs goes there: a mounted folder, or an address that TensorFlow opens.

    Args:
      config: checked.
      root: of the artifacts, which KFP itself fetches and stores.

    Raises:
      ConfigError: steps could not write there, or the key of patient ids has no place.
    """
    kubeflow = config.kubeflow
    home = kubeflow.home or (kubeflow.volume_path if kubeflow.volume_claim else root)
    key = "kubeflow.home" if kubeflow.home else "--root"
    if scheme_of(home) not in _OPENED:
        raise ConfigError(
            f"{key} {home}: steps cannot keep served versions and checkpoints at {scheme_of(home)}"
            ":// addresses; name a volume in kubeflow.volume_claim, or a gs:// address in "
            "kubeflow.home"
        )
    if not is_remote(home) and not home.startswith("/"):
        raise ConfigError(f"{key} {home}: give an absolute path, or a gs:// address")
    if config.ingest.patient_ids == "hash" and is_remote(home) and not config.ingest.patient_key:
        raise ConfigError(
            f"{key} {home}: the key of patient ids cannot be kept in object storage; name a file "
            "that the steps mount in ingest.patient_key, or set ingest.patient_ids: keep"
        )
    return home.rstrip("/")


def checked_root(root: str, *, vertex: bool) -> str:
    """The address of the artifacts.

    Raises:
      ConfigError: the platform cannot keep them there.
    """
    if vertex and scheme_of(root) != "gs":
        raise ConfigError(f"--root {root}: Vertex AI keeps artifacts at gs:// addresses only")
    if not is_remote(root) and not root.startswith("/"):
        raise ConfigError(f"--root {root}: give an address such as gs://BUCKET/ctnet")
    return root.rstrip("/")
