"""Drift: where the numbers about slices differ more than chance explains, as a file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

FILE_NAME = "drift.json"


@dataclasses.dataclass(frozen=True)
class Difference:
    """One feature that is distributed otherwise in one set of slices than in another.

    Attributes:
      feature: its name, such as `stats/noise`.
      splits: what was compared with what: two splits of a run, or a split of a run and the same
        one of the last accepted run.
      distance: from 0 (alike) to 1 (nothing in common), see `comparison`.
      threshold: above which it counts.
      line: the same for a person.
      span: the newest span of the run, where its slices of the split were compared alone.
    """

    feature: str
    splits: tuple[str, str]
    distance: float
    threshold: float
    line: str
    span: int | None = None


@dataclasses.dataclass(frozen=True)
class Drift:
    """What a validation found.

    Attributes:
      between_splits: of eval and test against train.
      since_last_run: of each split against the same one of the last accepted run, and of what the
        newest span gave to the split against the same.
      has_last_run: whether there was such a run to compare with.
    """

    between_splits: tuple[Difference, ...] = ()
    since_last_run: tuple[Difference, ...] = ()
    has_last_run: bool = False

    @property
    def lines(self) -> list[str]:
        """All of it for a person."""
        return [one.line for one in (*self.between_splits, *self.since_last_run)]

    def to_json(self) -> str:
        """The text of `drift.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"


def _differences(found: list[dict]) -> tuple[Difference, ...]:
    return tuple(Difference(**{**one, "splits": tuple(one["splits"])}) for one in found)


def read_drift(folder: Path) -> Drift:
    """Read what SliceValidator left in the folder of its anomalies.

    Raises:
      OSError: the folder has no such file.
    """
    content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    return Drift(
        between_splits=_differences(content["between_splits"]),
        since_last_run=_differences(content["since_last_run"]),
        has_last_run=content["has_last_run"],
    )
