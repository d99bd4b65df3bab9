"""What figures of slices, of patients and the ends of their intervals are called."""

from __future__ import annotations

from components.slice_evaluator.figures import COUNTS

SLICES, PATIENTS = "slices", "patients"
"""What a figure is of."""

EXAMPLE_COUNT = "example_count"
"""How many slices there are, as TFMA calls it."""
COUNTED = (*COUNTS, EXAMPLE_COUNT, PATIENTS)
"""What is a number of slices or patients."""
LOWER, UPPER = "_lower", "_upper"
"""End the names of an interval's ends."""

_OF_PATIENTS = "patient_"


def name_of(figure: str, unit: str) -> str:
    """A figure's name among those of slices and of patients.

    Args:
      figure: see `figures`.
      unit: `SLICES`, whose figures keep their names, or `PATIENTS`.
    """
    return f"{_OF_PATIENTS}{figure}" if unit == PATIENTS else figure


def is_plain(name: str) -> bool:
    """Whether a name is of slices, or a count: no patients' figure, and no interval's end."""
    return not (name.startswith(_OF_PATIENTS) or name.endswith((LOWER, UPPER)))
