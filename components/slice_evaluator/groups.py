"""The groups that a slice belongs to, and that an evaluation reports one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transform import ct_example

SEX = "sex"
AGE = "age"
SOURCE = "source"
HOUNSFIELD = "hounsfield"
GROUPINGS = (SEX, AGE, SOURCE, HOUNSFIELD)
"""By what slices are grouped, in the order in which groups are shown."""

UNKNOWN = "unknown"
MALE, FEMALE, OTHER = "M", "F", "other"
UNDER_40, FROM_40, FROM_60, FROM_80 = "<40", "40-59", "60-79", ">=80"
CALIBRATED, ASSUMED = "calibrated", "assumed"
"""Whether the slice's Hounsfield units came from the scanner or from an assumed window."""

SMALL_GROUP = 20
"""Groups of fewer patients are marked as small. Of 20 patients of whom 18 are decided rightly, the
exact 95 % interval (Clopper and Pearson 1934) goes from 0.68 to 0.99; with fewer a rate says almost
nothing, and a percentile bootstrap's interval is narrower than it should be."""

# DICOM PS3.3 C.7.1.1, Patient's Sex, and the same written out.
_SEXES = {
    "M": MALE,
    "MALE": MALE,
    "F": FEMALE,
    "FEMALE": FEMALE,
    "O": OTHER,
    "OTHER": OTHER,
}
# Each band up to its age, which is no longer in it.
_AGE_BANDS = ((40.0, UNDER_40), (60.0, FROM_40), (80.0, FROM_60), (math.inf, FROM_80))


def is_small(patients: int) -> bool:
    """Whether figures of so many patients are to be marked."""
    return patients < SMALL_GROUP


def _value(features: Mapping[str, Any], name: str) -> Any:
    """A feature as a plain value, None where it is absent."""
    value: Any = features.get(name)
    if hasattr(value, "tolist"):
        value = value.tolist()
    while isinstance(value, list | tuple):
        value = value[0] if value else None
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def sex_of(sex: str | None) -> str:
    """M, F, other or unknown; what is none of DICOM's terms is unknown, for codes differ."""
    return _SEXES.get((sex or "").strip().upper(), UNKNOWN)


def age_band(age: float | None) -> str:
    """The band of an age in years; unknown where it is None, NaN, infinite or negative."""
    if age is None or not math.isfinite(age) or age < 0:
        return UNKNOWN
    return next(band for below, band in _AGE_BANDS if age < below)


def groups_of(features: Mapping[str, Any]) -> dict[str, str]:
    """The groups of a slice.

    Args:
      features: of its CT example (see `transform.ct_example`), absent or None where unknown. Bytes
        or str, numbers, and lists or arrays of one of these.

    Returns:
      A group by each of `GROUPINGS`.
    """
    calibrated = _value(features, ct_example.CALIBRATED)
    units = UNKNOWN if calibrated is None else CALIBRATED if calibrated else ASSUMED
    return {
        SEX: sex_of(_value(features, ct_example.SEX)),
        AGE: age_band(_value(features, ct_example.AGE)),
        SOURCE: _value(features, ct_example.SOURCE) or UNKNOWN,
        HOUNSFIELD: units,
    }
