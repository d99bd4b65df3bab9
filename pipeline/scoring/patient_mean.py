"""Patient mean: the mean of the probabilities of a patient's slices, at the slices' threshold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import apache_beam as beam

from pipeline.scoring.scored_slice import Place, PlacedInQuarantine, ScoredSlice

# Every float32 is a whole number of these (IEEE 754 binary32: the least subnormal is 2**-149), so
# that sums of whole numbers are exact, in whatever order Beam adds.
_FRACTION_BITS = 149


@dataclasses.dataclass(frozen=True)
class PatientTally:
    """What is known of a patient from some of the slices.

    Attributes:
      first: place of the first of them, for the order of results.
      total: sum of their probabilities, in units of 2**-149.
      slices: how many were scored.
      quarantined: how many were not.
      threshold: the operating point; 0 where no slice was scored.
    """

    first: Place
    total: int = 0
    slices: int = 0
    quarantined: int = 0
    threshold: float = 0.0

    def with_tally(self, other: PatientTally) -> PatientTally:
        """Both together."""
        return PatientTally(
            min(self.first, other.first),
            self.total + other.total,
            self.slices + other.slices,
            self.quarantined + other.quarantined,
            max(self.threshold, other.threshold),
        )

    def to_record(self, patient: str, version: str) -> dict[str, Any]:
        """The patient's row, by the columns of `result_files`."""
        mean = float(Fraction(self.total, self.slices << _FRACTION_BITS)) if self.slices else None
        return {
            "patient_id": patient,
            "probability": mean,
            "decision": None if mean is None else int(mean >= self.threshold),
            "threshold": None if mean is None else self.threshold,
            "slices": self.slices,
            "quarantined": self.quarantined,
            "version": version,
        }


def tally_scored(one: ScoredSlice) -> tuple[str, PatientTally]:
    """A patient, with what one scored slice says."""
    # A probability is a float32, so that nothing is cut off.
    total = int(math.ldexp(one.probability, _FRACTION_BITS))
    return one.name.patient, PatientTally(one.name.place, total, 1, 0, one.threshold)


def tally_quarantined(one: PlacedInQuarantine) -> tuple[str, PatientTally]:
    """A patient, with a slice that was not scored."""
    return one.patient, PatientTally(one.place, quarantined=1)


class CombineTallies(beam.CombineFn):
    """Adds the tallies of a patient."""

    def create_accumulator(self) -> PatientTally | None:
        """Nothing yet."""
        return None

    def add_input(self, known: PatientTally | None, one: PatientTally) -> PatientTally:
        """Count a slice in."""
        return one if known is None else known.with_tally(one)

    def merge_accumulators(self, parts: Iterable[PatientTally | None]) -> PatientTally | None:
        """Count what several workers counted."""
        merged = self.create_accumulator()
        for part in parts:
            if part is not None:
                merged = self.add_input(merged, part)
        return merged

    def extract_output(self, known: PatientTally | None) -> PatientTally | None:
        """All of the patient's slices."""
        return known
