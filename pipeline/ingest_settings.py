"""The settings of an ingestion, from the configuration and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from components.ct_example_gen.patient_ids import ENVIRONMENT, key_fingerprint, load_key
from components.ct_example_gen.settings import IngestSettings
from components.ct_example_gen.splitting import SplitShares
from pipeline.config import RunConfig

KEY_VARIABLE = "CTNET_PATIENT_KEY"


def ingest_settings(
    config: RunConfig, own_key: Path | str, environment: Mapping[str, str] = os.environ
) -> IngestSettings:
    """What an ingestion is told.

    Args:
      config: checked.
      own_key: the file of the run's own key, for when the user gives none.
      environment: of the process.
    """
    ingest = config.ingest
    key = str(Path(ingest.patient_key).resolve()) if ingest.patient_key else None
    if key is None:
        key = f"{ENVIRONMENT}{KEY_VARIABLE}" if environment.get(KEY_VARIABLE) else str(own_key)
    return IngestSettings(
        window=config.hounsfield.window,
        split=SplitShares(**config.split.model_dump()),
        root=str(Path(ingest.root).resolve()) if ingest.root else None,
        on_leak=ingest.on_leak,
        on_marks=ingest.on_marks,
        on_conflict=ingest.on_conflict,
        max_quarantined=ingest.max_quarantined,
        slices=ingest.slices,
        min_lung_fraction=ingest.min_lung_fraction,
        patient_key=key if ingest.patient_ids == "hash" else None,
        span=ingest.span,
    )


def key_of(settings: IngestSettings) -> str:
    """A fingerprint of the key of the patient ids, which is made where it is missing.

    Raises:
      ConfigError: there is none, and none can be made.
    """
    return key_fingerprint(load_key(settings.patient_key)) if settings.patient_key else ""
