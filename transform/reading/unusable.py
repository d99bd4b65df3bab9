"""Why a slice cannot be used: the reason codes of the quarantine."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path

from transform.reading.found_slice import FoundSlice


class Reason(enum.StrEnum):
    """One code for each way in which a manifest row can be unusable."""

    MISSING_FILE = "missing_file"
    UNREADABLE = "unreadable"
    UNKNOWN_FORMAT = "unknown_format"
    NO_PIXELS = "no_pixels"
    NOT_CT = "not_ct"
    NOT_RESCALED = "not_rescaled"
    IMPLAUSIBLE_HU = "implausible_hu"
    MULTI_FRAME = "multi_frame"
    UNSUPPORTED_PIXELS = "unsupported_pixels"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    CONSTANT = "constant"
    NOT_FINITE = "not_finite"
    NOT_AXIAL = "not_axial"
    MIXED_SERIES = "mixed_series"
    GAP_IN_SERIES = "gap_in_series"
    COLOURED_MARKS = "coloured_marks"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    LITTLE_LUNG = "little_lung"
    BAD_LABEL = "bad_label"
    NO_PATIENT = "no_patient"
    BAD_SPLIT = "bad_split"
    DUPLICATE_ID = "duplicate_id"
    CONFLICTING_LABEL = "conflicting_label"
    LEAKED_PATIENT = "leaked_patient"
    LEAKED_GROUP = "leaked_group"
    IN_REFERENCE = "in_reference"
    OUTSIDE_ROOT = "outside_root"


class UnusableSliceError(Exception):
    """A slice that cannot be used.

    Attributes:
      reason: the code that goes to quarantine.
      detail: one line for a person: what was found, and where it helps, what to do.
    """

    def __init__(self, reason: Reason, detail: str):
        # Decoders write errors of several lines.
        self.detail = " ".join(detail.splitlines())
        super().__init__(f"{reason.value}: {self.detail}")
        self.reason = reason

    @classmethod
    def damaged(cls, path: Path, error: Exception) -> UnusableSliceError:
        """What becomes of a file whose decoder raised `error`."""
        return cls(
            Reason.UNREADABLE,
            f"{path} is damaged or cut off: {str(error) or type(error).__name__}",
        )


class UnusableSeriesError(UnusableSliceError):
    """A folder whose files are no series that can be used, though each of them may be readable.

    Attributes:
      members: all slices of the folder; each goes to quarantine.
    """

    def __init__(self, reason: Reason, detail: str, members: Sequence[FoundSlice]):
        super().__init__(reason, detail)
        self.members = tuple(members)


class MachineFaultError(RuntimeError):
    """A slice cannot be read because of this machine (no decoder runs, no room is left)."""
