"""Why a slice cannot be used: the reason codes of the quarantine."""

import enum


class Reason(enum.StrEnum):
    """One code for each way in which a manifest row can be unusable."""

    MISSING_FILE = "missing_file"
    UNREADABLE = "unreadable"
    UNKNOWN_FORMAT = "unknown_format"
    NO_PIXELS = "no_pixels"
    NOT_CT = "not_ct"
    NOT_RESCALED = "not_rescaled"
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
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
