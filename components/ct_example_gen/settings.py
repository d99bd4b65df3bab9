"""What an ingestion is told, typed; it travels as JSON through TFX's execution parameters."""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import Any, Final, Literal

from components.ct_example_gen.augmented_copies import AugmentedCopies
from components.ct_example_gen.changed_slice import SliceChanges
from components.ct_example_gen.splitting import SplitShares
from transform.errors import ConfigError

STOP: Final = "stop"
DROP_FROM_TRAIN: Final = "drop_from_train"
REPORT: Final = "report"
QUARANTINE: Final = "quarantine"
KEEP: Final = "keep"


class SplitBy(enum.Enum):
    """Where the splits come from: the manifest, a hash, or nowhere (a folder without labels)."""

    MANIFEST = "manifest"
    HASH = "hash"
    NOTHING = "nothing"


@dataclasses.dataclass(frozen=True)
class IngestSettings:
    """What an ingestion does with what it finds.

    Attributes:
      window: HU of black and white in pictures that lost their Hounsfield units.
      split: the split by hash, where the manifest does not give one.
      root: folder outside of which no file is read, or None.
      on_leak: "drop_from_train" keeps a patient, or a group of patients with a picture in common,
        in the last of its splits (test before eval before train) and quarantines the rest; "stop"
        and "report" leave it for the caller to judge.
      on_marks: "quarantine" or "keep", for slices with coloured marks.
      on_conflict: "quarantine" or "keep", for one picture under two labels.
      max_quarantined: share of the slices above which the run stops.
      slices: which slices a volume gives: "all", "every:N" or "middle:N".
      min_lung_fraction: slices with a smaller share of lung are left out.
      patient_key: where the key of the patient ids' hashes is (see `patient_ids.load_key`); None
        keeps the ids as they are.
      span: which spans of a folder of them: "newest", a number or "last:K".
      ignore_manifest_split: split by hash also where the manifest gives the split.
      reference: the manifest whose slices are the test split, whole, or None; the data is then
        train and eval, and what of it is in the reference set too goes to quarantine.
      augment_first: make augmented copies before the split; None does not.
    """

    window: tuple[float, float]
    split: SplitShares
    root: str | None = None
    on_leak: Literal["stop", "drop_from_train", "report"] = STOP
    on_marks: Literal["quarantine", "keep"] = QUARANTINE
    on_conflict: Literal["quarantine", "keep"] = QUARANTINE
    max_quarantined: float = 0.1
    slices: str = "all"
    min_lung_fraction: float = 0.0
    patient_key: str | None = None
    span: str = "newest"
    ignore_manifest_split: bool = False
    reference: str | None = None
    augment_first: AugmentedCopies | None = None

    def split_source(self, *, split_given: bool) -> SplitBy:
        """Where the splits come from.

        Args:
          split_given: whether the manifest gives a split.

        Raises:
          ConfigError: the manifest's split stands against copies that are to be split.
        """
        if not split_given or self.ignore_manifest_split:
            return SplitBy.HASH
        if self.augment_first is not None:
            raise ConfigError(
                "split.augment_first splits copies by image, but the manifest has a split column; "
                "set split.ignore_manifest: true to leave it aside, or split.augment_first: null"
            )
        return SplitBy.MANIFEST

    def on_leak_under(self, split_by: SplitBy) -> str:
        """What is done about a leak.

        A split by image leaks by design: it is only reported, for the user asked for it.
        """
        if split_by is SplitBy.HASH and self.split.by == "image":
            return REPORT
        return self.on_leak

    def to_json(self) -> str:
        """All of it as one JSON object, the same text for the same settings."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> IngestSettings:
        """What `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["window"] = tuple(values["window"])
        values["split"] = SplitShares(**values["split"])
        if copies := values["augment_first"]:
            changes = copies["changes"]
            changes["hu_range"] = tuple(changes["hu_range"])
            values["augment_first"] = AugmentedCopies(
                **{**copies, "changes": SliceChanges(**changes)}
            )
        return cls(**values)
