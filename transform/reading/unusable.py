"""Why a slice cannot be used: the reason codes of the quarantine."""

from __future__ import annotations

import enum
from pathlib import Path


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
    TOO_LARGE = "too_large"
    BAD_LABEL = "bad_label"
    NO_PATIENT = "no_patient"
    BAD_SPLIT = "bad_split"
    DUPLICATE_ID = "duplicate_id"
    LEAKED_PATIENT = "leaked_patient"
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
