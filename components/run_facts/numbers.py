"""How single numbers are written for people; nothing here loads TensorFlow."""

from __future__ import annotations

import math

DIGITS = 3
"""Behind the point, where nothing asks for more."""

_LEAST_P = 0.001
# Resamples that all give one value differ by rounding alone.
_LEAST_WIDTH = 1e-9


def number(value: float, digits: int = DIGITS) -> str:
    """A figure without unit, or "undefined" where there is none (NaN)."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def has_spread(lower: float, upper: float) -> bool:
    """Whether an interval has any width.

    One without comes from resamples that all gave the same value, as where no answer was wrong. It
    looks like certainty and is none.

    Args:
      lower: its lower end; NaN where there is no interval.
      upper: its upper end, likewise.
    """
    return upper - lower >= _LEAST_WIDTH


def interval(lower: float, upper: float, digits: int = DIGITS) -> str:
    """The ends of a 95 % interval, as in "0.761 to 0.922", or a few words where they say nothing.

    Args:
      lower: its lower end; NaN where there is none.
      upper: its upper end, likewise.
      digits: behind the point.
    """
    if math.isnan(lower) or math.isnan(upper):
        return "no interval"
    if not has_spread(lower, upper):
        return "no spread in the resamples"
    return f"{number(lower, digits)} to {number(upper, digits)}"


def p_value(value: float) -> str:
    """A p value, as in "0.021" or "below 0.001"; "undefined" where there is none (NaN)."""
    return f"below {_LEAST_P}" if value < _LEAST_P else number(value)
