"""Cron expressions as Kubeflow Pipelines reads them: six fields, of which the first is seconds.

It takes five fields for an expression whose last one, the day of the week, is missing: what every
crontab means by five would run at other times, and nothing would say so.
"""

from __future__ import annotations

import dataclasses
import re

from transform.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class _Field:
    """What may stand in a field.

    Attributes:
      name: for messages.
      low: the least number.
      high: the greatest.
      words: names of the numbers from `low` on.
    """

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _DAYS),
)
_NAMED = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
# A value, a range or every value, each in steps where it says so.
_PART = re.compile(r"(?P<from>[*?]|\w+)(?:-(?P<to>\w+))?(?:/(?P<step>\d+))?")


def kubeflow_cron(expression: str) -> str:
    """The same times, as Kubeflow Pipelines writes them.

    Args:
      expression: five fields as in a crontab (minute, hour, day of the month, month, day of the
        week), six with seconds before them, or a name such as @daily.

    Raises:
      ConfigError: it is none of these.
    """
    fields = expression.split()
    if len(fields) == 1 and fields[0] in _NAMED:
        return fields[0]
    if len(fields) == len(_FIELDS) - 1:
        fields = ["0", *fields]
    if len(fields) != len(_FIELDS):
        raise ConfigError(
            f"--cron {expression!r}: has {len(fields)} fields; give 5 (minute, hour, day of the "
            "month, month, day of the week), or 6 with seconds before them"
        )
    for text, field in zip(fields, _FIELDS, strict=True):
        if not all(_fits(part, field) for part in text.split(",")):
            raise ConfigError(
                f"--cron {expression!r}: {text!r} is no {field.name}, which is {field.low} to "
                f"{field.high}, a range such as {field.low}-{field.low + 1}, or *"
            )
    return " ".join(fields)


def _fits(part: str, field: _Field) -> bool:
    match = _PART.fullmatch(part)
    if match is None or (match["step"] and int(match["step"]) == 0):
        return False
    if match["from"] in ("*", "?"):
        return match["to"] is None
    first = _number(match["from"], field)
    last = first if match["to"] is None else _number(match["to"], field)
    return first is not None and last is not None and first <= last


def _number(text: str, field: _Field) -> int | None:
    """The number that stands there, None where it does not belong there."""
    if text.upper() in field.words:
        return field.low + field.words.index(text.upper())
    number = int(text) if text.isdecimal() else -1
    return number if field.low <= number <= field.high else None
