"""The runs of a folder with their evaluations and versions, of which no record has to be parsed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ml_metadata.proto.metadata_store_pb2 import Artifact

from pipeline.history.metadata_store import RunRecord, read_runs
from pipeline.history.versions import VersionsThere
from pipeline.run_folder.workdir import Workdir

EVALUATE, PUSH = "SliceEvaluator", "AtomicPusher"
"""The steps whose results an index has."""

# A run's id down to the second.
_SHORTEST = len("2025-06-14T08:31:07")


@dataclasses.dataclass(frozen=True)
class IndexedRun:
    """One run.

    Attributes:
      number: from 1, the oldest.
      run: its id.
      evaluation: the evaluation's folder; None where the run did not get so far.
      version: which the run pushed, as it was numbered then; None where it pushed none.
      versions: those that hold its model now.
    """

    number: int
    run: str
    evaluation: Path | None
    version: str | None
    versions: list[str]


@dataclasses.dataclass(frozen=True)
class RunIndex:
    """All runs of a folder.

    Attributes:
      workdir: the folder.
      runs: oldest first.
    """

    workdir: Path
    runs: list[IndexedRun]


def read_run_index(folder: Path) -> RunIndex:
    """Read which runs a folder has.

    Raises:
      ConfigError: no run has begun there, or its metadata cannot be read.
    """
    workdir = Workdir(folder.resolve())
    records = read_runs(folder)
    there = VersionsThere(workdir.serving)
    return RunIndex(
        folder,
        [
            IndexedRun(
                number,
                record.run,
                output_folder(record, EVALUATE, "evaluation", workdir),
                version_of(record),
                versions_of(record, workdir, there),
            )
            for number, record in enumerate(records, 1)
        ],
    )


def output_folder(record: RunRecord, step: str, key: str, workdir: Workdir) -> Path | None:
    """The folder of what a step of a run put out; None where it put out nothing."""
    artifact = record.output(step, key)
    return None if artifact is None else folder_of(artifact, workdir)


def folder_of(artifact: Artifact, workdir: Workdir) -> Path:
    """Where an artifact is, also after its run's folder was moved or copied."""
    recorded = Path(artifact.uri)
    inside = workdir.artifacts.joinpath(*recorded.parts[-3:])
    return inside if inside.exists() else recorded


def version_of(record: RunRecord) -> str | None:
    """Which version a run pushed, as it was numbered then; None where it pushed none."""
    pushed = record.output(PUSH, "pushed_model")
    return text_of(pushed, "pushed_version") if number_of(pushed, "pushed") == 1 else None


def versions_of(record: RunRecord, workdir: Workdir, there: VersionsThere) -> list[str]:
    """The versions that hold a run's model now."""
    version, archive = version_of(record), output_folder(record, PUSH, "pushed_model", workdir)
    if version is None or archive is None:
        return []
    return there.that_hold(archive, version)


def number_of(artifact: Artifact | None, name: str) -> int | None:
    """A whole number that a step noted of an artifact; None where it noted none."""
    if artifact is None or name not in artifact.custom_properties:
        return None
    return int(artifact.custom_properties[name].int_value)


def text_of(artifact: Artifact | None, name: str) -> str | None:
    """A text that a step noted of an artifact; None where it noted none, or an empty one."""
    if artifact is None or name not in artifact.custom_properties:
        return None
    return artifact.custom_properties[name].string_value or None


def short_ids(runs: list[str]) -> dict[str, str]:
    """Beginnings of the runs' ids that tell them apart."""
    short = {}
    for run in runs:
        others = [one for one in runs if one != run]
        length = next(
            (
                length
                for length in range(_SHORTEST, len(run))
                if not any(one.startswith(run[:length]) for one in others)
            ),
            len(run),
        )
        short[run] = run[:length]
    return short
