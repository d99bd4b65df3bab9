"""A progress bar over slices, which commands that ask a model share."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn


class SliceBar:
    """A bar that is gone when it ends, and is not drawn off a terminal; a context manager."""

    def __init__(
        self,
        doing: str,
        time: ProgressColumn,
        console: Console,
        *,
        total: int | None,
        hidden: bool = False,
    ):
        """Describe the bar.

        Args:
          doing: what is done to slices, as in "scoring".
          time: that is taken, or left.
          console: to draw on.
          total: slices; None where their number is not known.
          hidden: leave it out on a terminal, too.
        """
        # Where standard error is a terminal, Rich would send standard output there too.
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            time,
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=hidden or not console.is_terminal,
        )
        self._task = self._progress.add_task(doing, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
