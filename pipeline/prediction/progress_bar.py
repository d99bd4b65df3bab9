"""The progress of `ctnet predict` on standard error."""

from __future__ import annotations

from rich.console import Console
from rich.progress import TimeRemainingColumn
from rich.text import Text

from pipeline.slice_bar import SliceBar


class PredictionBar(SliceBar):
    """A bar over slices, and a line for whatever goes wrong; a context manager."""

    def __init__(self, least: int, *, hidden: bool):
        """Describe the bar.

        Args:
          least: how many slices there are at least; folders and volumes add theirs when they are
            opened.
          hidden: leave the bar out, because results are written to the same terminal.
        """
        self._least = least
        self._found = 0
        super().__init__(
            "predicting",
            TimeRemainingColumn(),
            Console(stderr=True),
            total=least,
            hidden=hidden,
        )

    def found(self, slices: int) -> None:
        """So many more slices are going to be asked about."""
        self._found += slices
        self._progress.update(self._task, total=max(self._least, self._found))

    def answered(self) -> None:
        """One slice more is done, predicted or not."""
        self._progress.advance(self._task)

    def asked_all(self) -> None:
        """No more slices come: make room for what is printed at the end."""
        self._progress.stop()

    def warned(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(Text(f"ctnet: {line}"), soft_wrap=True)
