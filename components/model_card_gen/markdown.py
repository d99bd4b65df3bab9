"""Text as Markdown that shows it as it is (CommonMark 0.31, tables as GitHub has them)."""

from __future__ import annotations

import re

from components.model_card_gen.table import Table


def code(text: str) -> str:
    """Text as a code span, whatever stands in it (CommonMark 6.1)."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{' '.join(text.split())}{space}{fence}"


def plain(text: str) -> str:
    """Text in which Markdown and HTML see nothing but text."""
    return re.sub(r"([\\`*_\[\]<>&|#~])", r"\\\1", " ".join(text.split()))


def table(content: Table) -> str:
    """A table with its cells as plain text, and a line's end."""
    cells = [[plain(cell) for cell in row] for row in (content.columns, *content.rows)]
    header, *rows = (f"| {' | '.join(row)} |" for row in cells)
    rule = f"|{'---|' * len(content.columns)}"
    return "\n".join([header, rule, *rows]) + "\n"
