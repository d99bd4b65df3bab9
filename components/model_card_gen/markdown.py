"""Text as Markdown that shows it as it is (CommonMark 0.31, tables as GitHub has them)."""

from __future__ import annotations

import re

from components.model_card_gen.table import Table
from transform.printable import printable


def _on_one_line(text: str) -> str:
    """Text without line breaks, and with control characters as escapes."""
    return printable(" ".join(text.split()))


def code(text: str) -> str:
    """Text as a code span, whatever stands in it (CommonMark 6.1); of nothing, that it is nothing.

    There is no empty code span: its fences would be read as text.
    """
    text = _on_one_line(text) or "not recorded"
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}"


def plain(text: str) -> str:
    """Text in which Markdown and HTML see nothing but text, and which no renderer links."""
    escaped = re.sub(r"([\\`*_\[\]<>&|#~])", r"\\\1", _on_one_line(text))
    return escaped.replace("://", r"\:\/\/")


def table(content: Table) -> str:
    """A table with its cells as plain text, and a line's end."""
    cells = [[plain(cell) for cell in row] for row in (content.columns, *content.rows)]
    header, *rows = (f"| {' | '.join(row)} |" for row in cells)
    rule = f"|{'---|' * len(content.columns)}"
    return "\n".join([header, rule, *rows]) + "\n"
