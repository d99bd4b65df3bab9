"""The folder that holds all of a run."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

from transform.errors import ConfigError
from transform.prediction import MODEL_NAME


@dataclasses.dataclass(frozen=True)
class Workdir:
    """Where a run keeps what; the names are part of ctnet's interface.

    Attributes:
      root: absolute.
    """

    root: Path

    @property
    def artifacts(self) -> Path:
        """TFX's pipeline root."""
        return self.root / "pipeline"

    @property
    def metadata(self) -> Path:
        """The ML Metadata store, SQLite."""
        return self.root / "metadata.sqlite"

    @property
    def metadata_backup(self) -> Path:
        """The copy of the store that a run makes after each step."""
        return self.root / "metadata.backup.sqlite"

    @property
    def logs(self) -> Path:
        """Logs, one file a run."""
        return self.root / "logs"

    @property
    def report(self) -> Path:
        """The latest report, `index.html`, and the model card."""
        return self.root / "report"

    @property
    def serving(self) -> Path:
        """What a server is pointed at: numbered versions."""
        return self.root / "serving" / MODEL_NAME

    @property
    def summary(self) -> Path:
        """The latest run's summary for programs."""
        return self.root / "summary.json"

    @property
    def quarantine(self) -> Path:
        """The latest run's quarantine, also when the run stopped."""
        return self.root / "quarantine.jsonl"

    @property
    def duplicates(self) -> Path:
        """Near-identical slices of the latest run, likewise."""
        return self.root / "duplicates.jsonl"

    @property
    def leaks(self) -> Path:
        """Patients and groups of the latest run that are in several splits, likewise."""
        return self.root / "leaks.jsonl"

    @property
    def retrainings(self) -> Path:
        """What `ctnet retrain` tried last."""
        return self.root / "retrainings.json"

    @property
    def patient_key(self) -> Path:
        """The key of the patient ids' hashes, where no other was given."""
        return self.root / "patient.key"


def open_workdir(path: Path) -> Workdir:
    """Make the folder where it is missing.

    Raises:
      ConfigError: it cannot be made or written.
      OSError: the disk is full.
    """
    workdir = Workdir(path.resolve())
    try:
        workdir.logs.mkdir(parents=True, exist_ok=True)
        workdir.artifacts.mkdir(exist_ok=True)
        probe = workdir.root / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(
            f"{path}: cannot be used as the run's folder ({error.strerror}); give --workdir"
        ) from None
    return workdir
