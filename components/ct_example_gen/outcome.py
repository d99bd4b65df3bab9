"""What came of the input, and whether training on it would mislead."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path

from transform.ct_example import SPLITS, TEST
from transform.errors import BadDataError
from transform.reading import Reason

FILE_NAME = "counts.jsonl"

# Kinds of what is counted.
ROW = "row"
INPUT = "input"
ACCEPTED = "accepted"
COPIED = "copied"
QUARANTINED = "quarantined"
LEAK = "leak"
DUPLICATES = "duplicates"

# What binds a group that leaks.
BY_PATIENT = "patient"
BY_DUPLICATES = "duplicates"

CONFLICT = "conflict"

# Why slices are in quarantine that are not faulty: a setting asked for it.
LEFT_OUT_ON_REQUEST = (
    Reason.LITTLE_LUNG,
    Reason.LEAKED_PATIENT,
    Reason.LEAKED_GROUP,
    Reason.IN_REFERENCE,
)

_NAMES = {"1": "positive", "0": "negative"}


@dataclasses.dataclass
class IngestOutcome:
    """Counts of what an ingestion did.

    Attributes:
      accepted: examples by split and label ("0", "1"): a slice each, or a copy of one.
      quarantined: slices by reason.
      leaks: patients found in two splits, by the splits they were found in ("test+train").
      group_leaks: likewise, groups of different patients who have a picture in common.
      rows: of the manifests.
      slices: that the rows named, those that a volume was not asked for left out.
      duplicates: groups of near-identical slices under one label.
      conflicts: groups of near-identical slices under two labels.
      copied: slices by label that the examples are augmented copies of; empty where the examples
        are the slices.
    """

    accepted: dict[str, dict[str, int]]
    quarantined: dict[str, int]
    leaks: dict[str, int]
    group_leaks: dict[str, int] = dataclasses.field(default_factory=dict)
    rows: int = 0
    slices: int = 0
    duplicates: int = 0
    conflicts: int = 0
    copied: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def total_accepted(self) -> int:
        """Slices in all splits, each once, however many copies of it there are."""
        if self.copied:
            return sum(self.copied.values())
        return sum(sum(by_label.values()) for by_label in self.accepted.values())

    @property
    def total_quarantined(self) -> int:
        """Slices in quarantine."""
        return sum(self.quarantined.values())

    @property
    def total_unwanted(self) -> int:
        """Slices in quarantine because they were asked to be left out, which is no fault."""
        return sum(self.quarantined.get(reason.value, 0) for reason in LEFT_OUT_ON_REQUEST)


def read_outcome(folder: Path) -> IngestOutcome:
    """Read the counts that the Beam job left in a quarantine artifact's folder."""
    outcome = IngestOutcome({split: dict.fromkeys(sorted(_NAMES), 0) for split in SPLITS}, {}, {})
    quarantined: collections.Counter[str] = collections.Counter()
    leaks: dict[str, collections.Counter[str]] = {
        BY_PATIENT: collections.Counter(),
        BY_DUPLICATES: collections.Counter(),
    }
    for line in (folder / FILE_NAME).read_text().splitlines():
        kind, first, second, count = json.loads(line)
        if kind == ACCEPTED:
            by_label = outcome.accepted.setdefault(first, {})
            by_label[second] = by_label.get(second, 0) + count
        elif kind == COPIED:
            outcome.copied[first] = outcome.copied.get(first, 0) + count
        elif kind == QUARANTINED:
            quarantined[first] += count
        elif kind == LEAK:
            leaks[second][first] += count
        elif kind == ROW:
            outcome.rows += count
        elif kind == INPUT:
            outcome.slices += count
        elif first == CONFLICT:
            outcome.conflicts += count
        else:
            outcome.duplicates += count
    outcome.copied = dict(sorted(outcome.copied.items()))
    outcome.quarantined = dict(sorted(quarantined.items()))
    outcome.leaks = dict(sorted(leaks[BY_PATIENT].items()))
    outcome.group_leaks = dict(sorted(leaks[BY_DUPLICATES].items()))
    return outcome


def _by_reason(outcome: IngestOutcome) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in outcome.quarantined.items())


def _by_splits(leaks: dict[str, int]) -> str:
    return ", ".join(f"{count} in {splits}" for splits, count in leaks.items())


def check_outcome(
    outcome: IngestOutcome,
    *,
    rows: int,
    max_quarantined: float,
    stop_on_leak: bool,
    where: str,
    leaks_file: str,
    examples_per_class: int | None = None,
    reference: str | None = None,
) -> None:
    """Stop where going on would mislead.

    Args:
      outcome: what came of the input.
      rows: how many rows its manifests have.
      max_quarantined: the largest share of the slices that may be in quarantine.
      stop_on_leak: whether a patient, or a picture, in two splits stops the run.
      where: the quarantine file, for the message.
      leaks_file: the file that lists the leaks, likewise.
      examples_per_class: to which copies were to multiply each class, None where none were.
      reference: the manifest that is the test split, None where the data has a test split itself.

    Raises:
      BadDataError: slices or copies were lost, none is usable, too many are quarantined, a patient
        or a picture in two splits, more slices in a class than copies are wanted, or a class
        missing from a split.
    """
    counted = outcome.total_accepted + outcome.total_quarantined
    if outcome.rows != rows or outcome.slices != counted:
        raise BadDataError(
            f"of {rows} rows {outcome.rows}, and of their {outcome.slices} slices {counted} came "
            "out of the Beam job, so its runner lost or repeated some; try another runner in "
            "beam.args"
        )
    if outcome.total_accepted == 0:
        raise BadDataError(
            f"no usable slice among {outcome.slices} ({_by_reason(outcome)}); see {where}"
        )
    refused = outcome.total_quarantined - outcome.total_unwanted
    if refused > max_quarantined * outcome.slices:
        raise BadDataError(
            f"{refused} of {outcome.slices} slices are quarantined ({_by_reason(outcome)}), more "
            f"than ingest.max_quarantined allows ({max_quarantined:.0%}); see {where}"
        )
    if stop_on_leak and (outcome.leaks or outcome.group_leaks):
        found = []
        if outcome.leaks:
            found.append(
                f"patients stand in two splits of the manifest ({_by_splits(outcome.leaks)})"
            )
        if outcome.group_leaks:
            found.append(
                "near-identical pictures of different patients stand in two splits of the "
                f"manifest ({_by_splits(outcome.group_leaks)})"
            )
        raise BadDataError(
            f"{', and '.join(found)}; see {leaks_file}, mend the split column, or set "
            "ingest.on_leak to drop_from_train or report"
        )
    if examples_per_class is not None:
        _check_copies(outcome, examples_per_class)
    for split in SPLITS:
        for label, name in _NAMES.items():
            if outcome.accepted[split][label]:
                continue
            if reference is not None and split == TEST:
                raise BadDataError(
                    f"the reference set has no usable {name} slice; add some to {reference}, or "
                    f"see in {where} what became of them"
                )
            raise BadDataError(
                f"the {split} split has no {name} slice; give more patients, or a split "
                "column in the manifest"
            )


def _check_copies(outcome: IngestOutcome, examples_per_class: int) -> None:
    for label, slices in outcome.copied.items():
        if slices > examples_per_class:
            raise BadDataError(
                f"split.augment_first.examples_per_class is {examples_per_class}, but there are "
                f"{slices} {_NAMES[label]} slices, and each is to have a copy at least; raise it"
            )
        made = sum(by_label[label] for by_label in outcome.accepted.values())
        if made != examples_per_class:
            raise BadDataError(
                f"of {examples_per_class} {_NAMES[label]} copies {made} came out of the Beam job, "
                "so its runner lost or repeated some; try another runner in beam.args"
            )
