"""What ingestion found of patients and pictures that stand in several splits, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from components.ct_example_gen.outcome import IngestOutcome
from transform.ct_example import TEST
from transform.reading import Reason

_DROPPED = (Reason.LEAKED_PATIENT, Reason.LEAKED_GROUP)


def name_leaks(patients: Mapping[str, int], groups: Mapping[str, int]) -> list[str]:
    """One sentence for each pair of splits that share patients or pictures.

    Args:
      patients: how many patients stand in splits, by the splits ("test+train").
      groups: likewise, groups of different patients with a picture in common.
    """
    sentences = []
    for splits, count in patients.items():
        what = "1 patient stands" if count == 1 else f"{count:,} patients stand"
        sentences.append(f"{what} in {splits.replace('+', ' and ')}.")
    for splits, count in groups.items():
        what = "1 group" if count == 1 else f"{count:,} groups"
        sentences.append(
            f"{what} of patients with a picture in common {'stands' if count == 1 else 'stand'} "
            f"in {splits.replace('+', ' and ')}."
        )
    return sentences


def _were_dropped(outcome: IngestOutcome) -> bool:
    """Whether the rest of each leaking patient or group was: nothing leaks any more."""
    return any(outcome.quarantined.get(reason.value) for reason in _DROPPED)


def remaining_leaks(outcome: IngestOutcome) -> list[str]:
    """Sentences on leaks that were found and kept (`ingest.on_leak: report`)."""
    return [] if _were_dropped(outcome) else name_leaks(outcome.leaks, outcome.group_leaks)


def touch_the_test(outcome: IngestOutcome) -> bool:
    """Whether a leak that was kept joins the test split with another one."""
    joined = (*outcome.leaks, *outcome.group_leaks)
    return not _were_dropped(outcome) and any(TEST in splits.split("+") for splits in joined)
