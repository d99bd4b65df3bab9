"""What `ctnet score` does: run the job, and put results under their names when all is done."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.ct_example_gen.patient_ids import ENVIRONMENT, KEY_BYTES, load_key
from components.ct_example_gen.quarantine import json_line
from pipeline.config import RunConfig
from pipeline.ingest_settings import KEY_VARIABLE
from pipeline.run_folder.full_disk import describe_full_disk
from pipeline.runners.beam_args import beam_args, check_beam_args
from pipeline.scoring import part_files
from pipeline.scoring.progress import Watcher, told_to
from pipeline.scoring.read_slices import ScoringSettings
from pipeline.scoring.result_files import (
    LABEL_FIELD,
    PATIENT_SCHEMA,
    SLICE_SCHEMA,
    check_suffix,
    unfinished,
    written_rows,
)
from pipeline.scoring.scored_model import ScoredModel, choose_model
from pipeline.scoring.scoring_rows import ScoringSource, find_source
from pipeline.scoring.workplace import workplace
from transform.errors import BadDataError, ConfigError, CtnetError

_KEY_FILE = "patient.key"
_MODEL = "model"


@dataclasses.dataclass(frozen=True)
class ScoreRequest:
    """What is scored, by whom, and where the answers go.

    Attributes:
      data: a manifest, a folder of spans or of files.
      model: see `scored_model.choose_model`.
      out: files of the slices' results, by suffix CSV or Parquet.
      config: checked; `ingest`, `hounsfield` and `beam` count.
      batch_size: the most slices that the model is asked about at once.
      keep_patient_ids: whether patient ids are written as they are.
      unblessed: whether a model is taken that is not known to have passed the gate.
      overwrite: whether files that are there are replaced.
    """

    data: Path
    model: Path
    out: Sequence[Path]
    config: RunConfig
    batch_size: int = 16
    keep_patient_ids: bool = False
    unblessed: bool = False
    overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class ScoreSummary:
    """What came of a scoring.

    Attributes:
      model: folder of the SavedModel.
      version: of it.
      blessed: whether it passed the gate.
      slices: how many were scored.
      positive: how many of these are positive.
      patients: how many have a result.
      positive_patients: how many of these are positive.
      quarantined: slices that were not scored, by reason.
      seconds: that the job took, the start of Beam and the loading of the model included.
      results: files of the slices.
      patient_results: files of the patients.
      quarantine: file of what was not scored.
      max_quarantined: the largest share of slices that may be in quarantine.
    """

    model: str
    version: str
    blessed: bool
    slices: int
    positive: int
    patients: int
    positive_patients: int
    quarantined: dict[str, int]
    seconds: float
    results: list[str]
    patient_results: list[str]
    quarantine: str
    max_quarantined: float

    @property
    def total_quarantined(self) -> int:
        """Slices that were not scored."""
        return sum(self.quarantined.values())

    @property
    def too_many_quarantined(self) -> bool:
        """Whether so many were not scored that the results say little of the data."""
        total = self.slices + self.total_quarantined
        return self.total_quarantined > self.max_quarantined * total

    def to_json(self) -> dict[str, Any]:
        """The summary as data."""
        per_second = self.slices / self.seconds if self.seconds else None
        return {**dataclasses.asdict(self), "slices_per_second": per_second}


@dataclasses.dataclass(frozen=True)
class _Destinations:
    slices: tuple[Path, ...]
    patients: tuple[Path, ...]
    quarantine: Path

    @property
    def all(self) -> tuple[Path, ...]:
        # The slices' come last: where they are, the others are too.
        return (self.quarantine, *self.patients, *self.slices)


def _destinations(out: Sequence[Path]) -> _Destinations:
    for path in out:
        check_suffix(path)
    patients = tuple(path.with_name(f"{path.stem}.patients{path.suffix}") for path in out)
    quarantine = out[0].with_name(f"{out[0].stem}.quarantine.jsonl")
    destinations = _Destinations(tuple(out), patients, quarantine)
    seen: set[Path] = set()
    for path in destinations.all:
        if path.resolve() in seen:
            raise ConfigError(
                f"{path}: two of the files that --out asks for would be this one; name others"
            )
        seen.add(path.resolve())
    return destinations


def _check_destinations(
    destinations: _Destinations, source: ScoringSource, *, overwrite: bool
) -> None:
    """Refuse to write over what is read, or over anything without being told to.

    Raises:
      ConfigError: a file is there, is a manifest, or would be taken for a slice the next time.
    """
    manifests = {manifest.path.resolve() for manifest in source.manifests}
    for path in destinations.all:
        resolved = path.resolve()
        if resolved in manifests:
            raise ConfigError(f"{path}: is what is to be scored; name another file with --out")
        if source.folder is not None and resolved.is_relative_to(source.folder):
            raise ConfigError(
                f"{path}: is in {source.folder}, where it would be taken for a slice the next "
                "time; name a file elsewhere with --out"
            )
        if path.exists() and not (overwrite and path.is_file()):
            raise ConfigError(
                f"{path}: is there already; name another file with --out, or give --overwrite"
            )


def _key_reference(request: ScoreRequest, model: ScoredModel, place: Path) -> str | None:
    """Where the key of the patient ids' hashes is; made for this scoring where there is none.

    Raises:
      ConfigError: the key that the user named cannot be used.
    """
    ingest = request.config.ingest
    if request.keep_patient_ids or ingest.patient_ids != "hash":
        return None
    if ingest.patient_key:
        reference = str(Path(ingest.patient_key).resolve())
    elif os.environ.get(KEY_VARIABLE):
        reference = f"{ENVIRONMENT}{KEY_VARIABLE}"
    elif model.workdir is not None and model.workdir.patient_key.is_file():
        reference = str(model.workdir.patient_key)
    else:
        # Ids of hospitals are few enough to be guessed, were they hashed without a key.
        own = place / _KEY_FILE
        own.touch(mode=0o600)
        own.write_text(secrets.token_hex(KEY_BYTES))
        reference = str(own)
    load_key(reference)
    return reference


def _kept(model: ScoredModel, place: Path) -> ScoredModel:
    """The same model in the workplace, where no pruning takes it from workers that start late.

    Its files are linked, which takes no room, or copied where the file system has no links.

    Raises:
      ConfigError: the model is gone, or cannot be read.
      OSError: the disk is full.
    """
    kept = place / _MODEL
    shutil.rmtree(kept, ignore_errors=True)
    try:
        for path in sorted(model.folder.rglob("*")):
            if path.is_file():
                target = kept / path.relative_to(model.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(path.resolve(), target)
    except OSError as error:
        if describe_full_disk(error) is not None:
            raise
        raise ConfigError(
            f"{model.folder}: cannot be read ({error.strerror}); was it pruned meanwhile? give "
            "another --model"
        ) from error
    return dataclasses.replace(model, folder=kept)


def _link_or_copy(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, target)


def _settings(request: ScoreRequest, key_reference: str | None) -> ScoringSettings:
    ingest = request.config.ingest
    return ScoringSettings(
        slices=ingest.slices,
        window=request.config.hounsfield.window,
        refuse_marks=ingest.on_marks == "quarantine",
        root=str(Path(ingest.root).resolve()) if ingest.root else None,
        patient_key=key_reference,
        batch_size=request.batch_size,
    )


def score(request: ScoreRequest, watcher: Watcher) -> ScoreSummary:
    """Score everything, and leave results that are whole, or none.

    Args:
      request: what to do.
      watcher: is told how it goes.

    Raises:
      ConfigError: the model, the results' files or the key cannot be used.
      OSError: the disk is full.
      BadDataError: there is nothing to score, or nothing could be scored; then the quarantine is
        written all the same.
    """
    destinations = _destinations(request.out)
    model = choose_model(request.model, unblessed=request.unblessed)
    source = find_source(request.data, request.config.ingest.span)
    _check_destinations(destinations, source, overwrite=request.overwrite)
    begun = time.monotonic()
    with workplace(request.out[0].absolute()) as place:
        settings = _settings(request, _key_reference(request, model, place))
        with told_to(watcher, place / part_files.PROGRESS):
            _run_job(request.config, source, _kept(model, place), settings, place)
        return _finish(request, destinations, source, model, place, begun)


def _run_job(
    config: RunConfig,
    source: ScoringSource,
    model: ScoredModel,
    settings: ScoringSettings,
    place: Path,
) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipeline.scoring.job import score_slices

    check_beam_args(config, workdir=place)
    with beam.Pipeline(options=PipelineOptions(beam_args(config))) as job:
        score_slices(job, source, model, settings, place)


def _finish(
    request: ScoreRequest,
    destinations: _Destinations,
    source: ScoringSource,
    model: ScoredModel,
    place: Path,
    begun: float,
) -> ScoreSummary:
    """Put the parts together, and give whole files their names."""
    try:
        with _none_unfinished(destinations.all):
            quarantined = _write_quarantine(place, destinations.quarantine)
            schema = SLICE_SCHEMA.append(LABEL_FIELD) if source.labelled else SLICE_SCHEMA
            scored, positive = _write_rows(place / part_files.SLICES, destinations.slices, schema)
            _check_nothing_lost(place, source, scored + sum(quarantined.values()))
            if not scored:
                unfinished(destinations.quarantine).replace(destinations.quarantine)
                reasons = ", ".join(f"{count} {reason}" for reason, count in quarantined.items())
                raise BadDataError(
                    f"no slice could be scored ({reasons}); see {destinations.quarantine}"
                )
            patients, positive_patients = _write_rows(
                place / part_files.PATIENTS, destinations.patients, PATIENT_SCHEMA
            )
            for path in destinations.all:
                unfinished(path).replace(path)
    except OSError as error:
        if describe_full_disk(error) is not None:
            raise
        raise ConfigError(
            f"{request.out[0]}: results cannot be written ({error.strerror}); name another file "
            "with --out"
        ) from error
    return ScoreSummary(
        model=str(model.folder),
        version=model.version,
        blessed=model.blessed,
        slices=scored,
        positive=positive,
        patients=patients,
        positive_patients=positive_patients,
        quarantined=dict(sorted(quarantined.items())),
        seconds=round(time.monotonic() - begun, 3),
        results=[str(path) for path in destinations.slices],
        patient_results=[str(path) for path in destinations.patients],
        quarantine=str(destinations.quarantine),
        max_quarantined=request.config.ingest.max_quarantined,
    )


class _Removal:
    """Removes unfinished files."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = paths

    def __call__(self) -> None:
        for path in self._paths:
            with contextlib.suppress(OSError):
                unfinished(path).unlink(missing_ok=True)


def _none_unfinished(paths: Sequence[Path]) -> contextlib.ExitStack:
    """A context after which no unfinished file is left, however it ends."""
    stack = contextlib.ExitStack()
    stack.callback(_Removal(paths))
    return stack


def _write_quarantine(place: Path, path: Path) -> collections.Counter[str]:
    reasons: collections.Counter[str] = collections.Counter()
    with unfinished(path).open("w", encoding="utf-8") as file:
        for record in part_files.read_parts(place / part_files.QUARANTINE):
            reasons[record["reason"]] += 1
            file.write(json_line(record) + "\n")
    return reasons


def _write_rows(parts: Path, paths: Sequence[Path], schema: pa.Schema) -> tuple[int, int]:
    """Write all rows to all files; how many have a probability, and how many are positive."""
    predicted = positive = 0
    with written_rows(paths, schema) as writers:
        for record in part_files.read_parts(parts):
            for writer in writers:
                writer.add(record)
            predicted += record["probability"] is not None
            positive += record["decision"] == 1
    return predicted, positive


def _check_nothing_lost(place: Path, source: ScoringSource, slices: int) -> None:
    """See that what went into the Beam job came out of it.

    Raises:
      CtnetError: it did not.
    """
    (counted,) = part_files.read_parts(place / part_files.COUNTS)
    if (counted["rows"], counted["slices"]) != (source.rows, slices):
        raise CtnetError(
            f"of {source.rows} rows {counted['rows']}, and of their {counted['slices']} slices "
            f"{slices} came out of the Beam job: the data changed meanwhile, or its runner lost or "
            "repeated some; try again, or another runner in beam.args"
        )


def summary_line(summary: ScoreSummary) -> str:
    """What is wrong where too many slices are in quarantine, as JSON cannot say it."""
    total = summary.slices + summary.total_quarantined
    reasons = json.dumps(summary.quarantined)
    return (
        f"{summary.total_quarantined} of {total} slices are quarantined {reasons}, more than "
        f"ingest.max_quarantined allows ({summary.max_quarantined:.0%}); the others are scored; "
        f"see {summary.quarantine}"
    )
