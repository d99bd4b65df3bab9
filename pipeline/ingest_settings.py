"""The settings of an ingestion, from the configuration and the environment."""

from __future__ import annotations

import os
from pathlib import Path

from components.ct_example_gen.augmented_copies import AugmentedCopies
from components.ct_example_gen.changed_slice import SliceChanges
from components.ct_example_gen.patient_ids import ENVIRONMENT, key_fingerprint, load_key, make_key
from components.ct_example_gen.settings import IngestSettings
from components.ct_example_gen.splitting import SplitShares
from pipeline.config import RunConfig

KEY_VARIABLE = "CTNET_PATIENT_KEY"

_SHARES = {"by", "train", "eval", "test"}


def ingest_settings(config: RunConfig, own_key: Path) -> IngestSettings:
    """What an ingestion on this machine is told.

    Args:
      config: checked.
      own_key: the file of the run's own key, for when the user gives none; made where missing.

    Raises:
      ConfigError: the key that the user gave is not there, or none can be made.
    """
    ingest = config.ingest
    key = str(own_key)
    if ingest.patient_key:
        key = str(Path(ingest.patient_key).resolve())
    elif os.environ.get(KEY_VARIABLE):
        key = f"{ENVIRONMENT}{KEY_VARIABLE}"
    elif ingest.patient_ids == "hash":
        make_key(own_key)
    if ingest.patient_ids == "hash":
        load_key(key)
    return _settings(config, key, _resolved(ingest.root), _resolved(config.split.reference))


def cluster_ingest_settings(config: RunConfig, own_key: str) -> IngestSettings:
    """What an ingestion on a cluster is told: places as the steps see them, not this machine.

    Args:
      config: checked.
      own_key: the file of the key, for when the user gives none; on a volume that steps mount.
    """
    ingest = config.ingest
    return _settings(config, ingest.patient_key or own_key, ingest.root, config.split.reference)


def _resolved(path: str | None) -> str | None:
    return str(Path(path).resolve()) if path else None


def _settings(
    config: RunConfig, key: str, root: str | None, reference: str | None
) -> IngestSettings:
    ingest = config.ingest
    return IngestSettings(
        window=config.hounsfield.window,
        split=SplitShares(**config.split.model_dump(include=_SHARES)),
        root=root,
        on_leak=ingest.on_leak,
        on_marks=ingest.on_marks,
        on_conflict=ingest.on_conflict,
        max_quarantined=ingest.max_quarantined,
        slices=ingest.slices,
        min_lung_fraction=ingest.min_lung_fraction,
        patient_key=key if ingest.patient_ids == "hash" else None,
        span=ingest.span,
        ignore_manifest_split=config.split.ignore_manifest,
        reference=reference,
        augment_first=_copies(config),
    )


def _copies(config: RunConfig) -> AugmentedCopies | None:
    first = config.split.augment_first
    if first is None:
        return None
    return AugmentedCopies(
        examples_per_class=first.examples_per_class,
        seed=config.seed,
        changes=SliceChanges(
            **first.model_dump(exclude={"examples_per_class"}),
            hu_range=(config.transform.hu_min, config.transform.hu_max),
        ),
    )


def key_of(settings: IngestSettings) -> str:
    """A fingerprint of the key of the patient ids, empty where ids are kept.

    Raises:
      ConfigError: there is no key.
    """
    return key_fingerprint(load_key(settings.patient_key)) if settings.patient_key else ""
