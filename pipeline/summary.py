"""The summary of a run: for programs in summary.json, for people on the terminal."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Verdict(enum.StrEnum):
    """How a run ended."""

    PUSHED = "pushed"
    NOT_BLESSED = "not_blessed"
    BAD_DATA = "bad_data"
    FAILED = "failed"
    NOTHING_NEW = "nothing_new"


class ExitCode(enum.IntEnum):
    """What `ctnet run` and `ctnet retrain` exit with; schedulers act on it."""

    PUSHED = 0
    FAILED = 1
    USAGE = 2
    NOT_BLESSED = 3
    BAD_DATA = 4


_EXIT_CODES = {
    Verdict.PUSHED: ExitCode.PUSHED,
    Verdict.NOTHING_NEW: ExitCode.PUSHED,
    Verdict.NOT_BLESSED: ExitCode.NOT_BLESSED,
    Verdict.BAD_DATA: ExitCode.BAD_DATA,
    Verdict.FAILED: ExitCode.FAILED,
}


def _valid_json(value: Any) -> Any:
    """The same value with null for figures that are undefined, for which JSON has no number."""
    if isinstance(value, dict):
        return {key: _valid_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_valid_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclasses.dataclass
class Summary:
    """What a run leaves in `WORKDIR/summary.json`.

    Attributes:
      name: the run's name.
      verdict: how it ended.
      error: one line, where it ended before its end.
      fingerprint: of the manifest and the files that it names.
      metrics: figures on the test split by name; null in JSON where one is undefined, such as the
        positive predictive value of a model that calls nothing positive. Those of patients begin
        with `patient_`; the ends of 95 % intervals end with `_lower` and `_upper`.
      bounds: of the gate, each with `metric`, `at_least`, `value` and `passed`; a leak alarm that
        refuses and the shortcuts of `gate.shortcuts: refuse` have `at_most`, and null for
        `at_least`.
      leak_alarm: where the result is too good to be true: `accepted`, `says` (one line) and
        `reasons` to look for; else None.
      refused: why the model may not be served although the gate let it pass, one line.
      counts: `examples` by split and class, `quarantined` by reason, and `duplicates`: `groups` of
        near-identical slices and `conflicts` among them.
      leaks: sentences about leaks that the configuration allowed.
      drift: sentences about numbers of the slices that differ between splits, or from the last
        accepted run, by more than chance explains.
      shortcuts: sentences about what tells the classes apart beside the lungs.
      cautions: sentences about what the validation split says of the model's reliability.
      started_from: what training began with: weights of the backbone, or with
        `model.weights: last_blessed` the folder of the parent's artifact.
      model: the export's SavedModel folder; of the pushed version where it was pushed.
      version: of the pushed model.
      serving: the folder that a server is pointed at.
      evaluation: folder of the evaluation; `evaluation.json` there has all figures, by group too,
        and `predictions-*.jsonl` every test slice.
      report: the report's file.
      log: the log's file.
      pruned: of a retraining: how many `versions`, `artifacts`, `checkpoints` and `logs` were
        removed at its end, and their `bytes`; or an `error`, one line.
      steps: each with `name`, `seconds` and `cached`.
    """

    name: str
    verdict: Verdict
    error: str | None = None
    fingerprint: str | None = None
    metrics: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    bounds: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    leak_alarm: dict[str, Any] | None = None
    refused: str | None = None
    counts: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    leaks: list[str] = dataclasses.field(default_factory=list)
    drift: list[str] = dataclasses.field(default_factory=list)
    shortcuts: list[str] = dataclasses.field(default_factory=list)
    cautions: list[str] = dataclasses.field(default_factory=list)
    started_from: str | None = None
    model: str | None = None
    version: str | None = None
    serving: str | None = None
    evaluation: str | None = None
    report: str | None = None
    log: str | None = None
    pruned: dict[str, Any] | None = None
    steps: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the verdict."""
        return _EXIT_CODES[self.verdict]

    def to_json(self) -> str:
        """The summary as one JSON object."""
        return json.dumps(_valid_json(dataclasses.asdict(self)), indent=2, allow_nan=False)

    def write(self, path: Path) -> None:
        """Write `summary.json`, whole or not at all."""
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            unfinished.write_text(self.to_json() + "\n")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def read_summary(path: Path) -> Summary | None:
    """Read `summary.json`; None where no run has left one."""
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text())
        return Summary(**{**values, "verdict": Verdict(values["verdict"])})
    except (ValueError, TypeError, KeyError):
        # Damaged, or of another version of ctnet: as good as none.
        return None
