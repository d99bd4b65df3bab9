"""The leak alarm: a result too good to be true is more often a leak than a good model."""

from __future__ import annotations

from collections.abc import Mapping

from components.slice_evaluator.figures import ACCURACY

CONFIG_KEY = "gate.leak_alarm"
OPTION = "--accept-leak-alarm"
ADVICE = f"look for a leak between training and test, then pass {OPTION} if there is none"
"""What to do about an alarm that nobody has accepted yet."""
DEFAULT_ALARM = 0.98

# A model that is right about 19 of 20 patients is right about 50 of 50 once in 13 times: with so
# few, a perfect result needs no leak.
MOST_PATIENTS_BY_CHANCE = 50

REASONS = (
    "Augmented copies of one slice are in training and in test (`split.augment_first`, or copies "
    "that were in the data before).",
    "Slices of one patient are in training and in test (`split.by: image`, a split column that "
    "tears patients apart, or one patient under two ids).",
    "The same slice is there twice under two names or ids, once in training and once in test.",
    "Marks predict the label: arrows, letters, borders or a scanner's overlay that one class has.",
    "The file predicts the label: format, size, compression, window or source differ between the "
    "classes.",
    "The test labels were made by a model or by a rule that reads the same pixels, and not by a "
    "reader or a laboratory.",
    "Both classes come from different hospitals, scanners or years, and the model tells these "
    "apart.",
    "The test split was looked at while the model or its operating point was chosen.",
)
"""What to look for, a sentence each."""


def is_suspicious(figures: Mapping[str, float], patients: int, alarm: float) -> bool:
    """Whether a result is too good to be let through unseen.

    Args:
      figures: of the test slices, see `figures.figures`; an accuracy of NaN is not suspicious.
      patients: how many patients the slices are of.
      alarm: the accuracy above which the alarm goes off.
    """
    return patients > MOST_PATIENTS_BY_CHANCE and figures[ACCURACY] > alarm


def describe_alarm(figures: Mapping[str, float], patients: int, alarm: float) -> str:
    """One line for a result that is suspicious: what is, and not what to do (see `ADVICE`)."""
    return (
        f"accuracy {figures[ACCURACY]:.4f} on {patients} test patients is above {CONFIG_KEY} "
        f"({alarm:g})"
    )
