"""What came of the rows of a manifest, and whether training on it would mislead."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path

from transform.ct_example import SPLITS
from transform.errors import BadDataError

FILE_NAME = "counts.jsonl"

ACCEPTED = "accepted"
QUARANTINED = "quarantined"
LEAK = "leak"
_CLASSES = ("0", "1")


@dataclasses.dataclass
class IngestOutcome:
    """Counts of what an ingestion did.

    Attributes:
      accepted: slices by split and label ("0", "1").
      quarantined: slices by reason.
      leaks: patients found in two splits, by the splits they were found in ("test+train").
    """

    accepted: dict[str, dict[str, int]]
    quarantined: dict[str, int]
    leaks: dict[str, int]

    @property
    def total_accepted(self) -> int:
        """Slices in all splits."""
        return sum(sum(by_label.values()) for by_label in self.accepted.values())

    @property
    def total_quarantined(self) -> int:
        """Slices in quarantine."""
        return sum(self.quarantined.values())


def read_outcome(folder: Path) -> IngestOutcome:
    """Read the counts that the Beam job left in a quarantine artifact's folder."""
    accepted = {split: dict.fromkeys(_CLASSES, 0) for split in SPLITS}
    quarantined: collections.Counter[str] = collections.Counter()
    leaks: collections.Counter[str] = collections.Counter()
    for line in (folder / FILE_NAME).read_text().splitlines():
        kind, first, second, count = json.loads(line)
        if kind == ACCEPTED:
            accepted[first][second] += count
        elif kind == QUARANTINED:
            quarantined[first] += count
        else:
            leaks[first] += count
    return IngestOutcome(accepted, dict(sorted(quarantined.items())), dict(sorted(leaks.items())))


def _by_reason(outcome: IngestOutcome) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in outcome.quarantined.items())


def check_outcome(
    outcome: IngestOutcome, *, rows: int, max_quarantined: float, stop_on_leak: bool, where: str
) -> None:
    """Stop where going on would mislead.

    Args:
      outcome: what came of the manifest.
      rows: how many rows it has.
      max_quarantined: the largest share of them that may be in quarantine.
      stop_on_leak: whether a patient in two splits stops the run.
      where: the quarantine file, for the message.

    Raises:
      BadDataError: rows were lost, no usable slice, too many quarantined, a patient in two
        splits, or a class missing from a split.
    """
    counted = outcome.total_accepted + outcome.total_quarantined
    if counted != rows:
        raise BadDataError(
            f"of {rows} rows {counted} came out of the Beam job, so its runner lost or repeated "
            "some; try another runner in beam.args"
        )
    if outcome.total_accepted == 0:
        raise BadDataError(f"no usable slice among {rows} ({_by_reason(outcome)}); see {where}")
    if outcome.total_quarantined > max_quarantined * rows:
        raise BadDataError(
            f"{outcome.total_quarantined} of {rows} slices are quarantined "
            f"({_by_reason(outcome)}), more than ingest.max_quarantined allows "
            f"({max_quarantined:.0%}); see {where}"
        )
    if stop_on_leak and outcome.leaks:
        found = ", ".join(f"{count} in {splits}" for splits, count in outcome.leaks.items())
        raise BadDataError(
            f"patients stand in two splits of the manifest ({found}); mend its split column, or "
            "set ingest.on_leak to drop_from_train or report"
        )
    for split in SPLITS:
        for label, name in (("1", "positive"), ("0", "negative")):
            if outcome.accepted[split][label] == 0:
                raise BadDataError(
                    f"the {split} split has no {name} slice; give more patients, or a split "
                    "column in the manifest"
                )
