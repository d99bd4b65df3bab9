"""Write docs/configuration.md: `python -m pipeline.config_reference > docs/configuration.md`."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config import SHORT_FORMS, RunConfig, say_limits, section_of

_HEAD = """# Configuration

A run is one YAML file. Keys that are not given have their default; keys that do not exist and
values of the wrong type are refused. `--set section.key=value` overrides one. This page is
written by `python -m pipeline.config_reference`, and a test holds it to the code.

| key | type | default | meaning |
|---|---|---|---|
"""


def _say_type(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        limits = say_limits(annotation)
        return _say_type(get_args(annotation)[0]) + (f" ({limits})" if limits else "")
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(_say_type(part) for part in get_args(annotation))
    if origin is tuple:
        return "two numbers"
    if origin is list:
        return f"list of {_say_type(get_args(annotation)[0])}"
    if section_of(annotation):
        return "section"
    names = {int: "integer", float: "number", str: "text", bool: "`true`, `false`"}
    return "`null`" if annotation is type(None) else names[annotation]


def _say_default(value: Any) -> str:
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(f'{one:g}' if isinstance(one, float) else one for one in value)}]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _rows(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner in SHORT_FORMS:
            yield _short_row(f"{prefix}{name}", field, inner.model_fields[SHORT_FORMS[inner]])
        elif inner is not field.annotation:
            yield _row(f"{prefix}{name}", field)
        if inner:
            yield from _rows(inner, f"{prefix}{name}.")


def _row(key: str, field: FieldInfo) -> str:
    limits = say_limits(field)
    kind = _say_type(field.annotation) + (f", {limits}" if limits else "")
    return f"| `{key}` | {kind} | {_say_default(field.default)} | {field.description or ''} |"


def _short_row(key: str, field: FieldInfo, short: FieldInfo) -> str:
    """The row of a section that may be given as the value of one of its keys."""
    (kind,) = (part for part in get_args(short.annotation) if part is not type(None))
    default = getattr(field.default, SHORT_FORMS[type(field.default)])
    kinds = f"{_say_type(kind)} or section"
    return f"| `{key}` | {kinds} | {_say_default(default)} | {field.description} |"


def configuration_page() -> str:
    """The page's text: every key with its type, limits, default and meaning."""
    return _HEAD + "\n".join(_rows(RunConfig, "")) + "\n"


if __name__ == "__main__":
    sys.stdout.write(configuration_page())
