"""A table of figures as text, for the page and for Markdown alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells ready to be read; each row has a cell for each column.

    Attributes:
      columns: their headings.
      rows: from top to bottom; the first cell names the row.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
