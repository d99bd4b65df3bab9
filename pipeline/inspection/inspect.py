"""An inspection: the ingestion's own job over a manifest or a folder, for people to read."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from components.ct_example_gen import quarantine
from components.ct_example_gen.findings import LEAKS_FILE
from components.ct_example_gen.ingestion import IngestInput, count_shards, ingest
from components.ct_example_gen.manifest import ManifestFacts, ManifestRow, survey_manifests
from components.ct_example_gen.outcome import check_outcome, read_outcome
from components.ct_example_gen.settings import STOP, SplitBy
from components.ct_example_gen.spans import ManifestFile, list_spans, resolve_manifests
from pipeline.config import RunConfig
from pipeline.ingest_settings import ingest_settings
from pipeline.runners.beam_args import beam_args, check_beam_args
from transform.errors import BadDataError, ConfigError


@dataclasses.dataclass(frozen=True)
class Inspected:
    """What an inspection left.

    Attributes:
      findings: folder of `accepted.jsonl`, `quarantine.jsonl`, `duplicates.jsonl`, `leaks.jsonl`
        and `counts.jsonl`.
      base: what relative paths in them are relative to.
      on_leak: what a run would do about a leak: under a split by image it only reports.
      would_stop: why a run on this input would stop, None where it would not.
    """

    findings: Path
    base: Path
    on_leak: str
    would_stop: str | None


def _files_below(folder: Path, out: Path) -> Iterator[ManifestRow]:
    """A row for every file below a folder, in order.

    Hidden files, DICOMDIR and what an earlier inspection left in `out` are left out.
    """
    number = 0
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and Path(where, name) != out
        )
        for name in sorted(files):
            if name.startswith(".") or name.upper() == "DICOMDIR":
                continue
            number += 1
            file = Path(where) / name
            yield ManifestRow(
                number=number,
                # A name of a file need not be text, but what is written of it is.
                path=os.fsencode(file.relative_to(folder)).decode(errors="backslashreplace"),
                file=str(file),
                label="",
                patient_id="",
            )


def _survey_rows(rows: list[ManifestRow]) -> ManifestFacts:
    size = 0
    for row in rows:
        try:
            size += Path(row.file).stat().st_size
        except OSError:
            continue
    return ManifestFacts(len(rows), 0, size, fingerprint="")


def _seen_from(base: Path, manifest: ManifestFile) -> ManifestFile:
    """The same manifest; paths of the reference set lead to its files, for the thumbnails."""
    if not manifest.reference:
        return manifest
    return dataclasses.replace(manifest, prefix=os.path.relpath(manifest.path.parent, base))


def _input(data: Path, config: RunConfig, out: Path) -> tuple[IngestInput, ManifestFacts, Path]:
    if data.is_dir() and not list_spans(data):
        rows = list(_files_below(data, out))
        if not rows:
            raise BadDataError(f"{data}: the folder holds no file, so there is nothing to inspect")
        facts = _survey_rows(rows)
        source = IngestInput([], count_shards(facts), SplitBy.NOTHING, rows=rows, labelled=False)
        return source, facts, data
    base = data if data.is_dir() else data.parent
    manifests = [
        _seen_from(base, one)
        for one in resolve_manifests(data, config.ingest.span, config.split.reference)
    ]
    facts = survey_manifests(manifests)
    given = facts.rows_with_split and not config.split.ignore_manifest
    split_by = SplitBy.MANIFEST if given else SplitBy.HASH
    return IngestInput(manifests, count_shards(facts), split_by), facts, base


def inspect(data: Path, config: RunConfig, out: Path) -> Inspected:
    """Read every slice as a run would, and leave what was found.

    Args:
      data: a manifest, a folder of spans, or a folder of files without labels.
      config: checked; `ingest`, `hounsfield`, `split` and `beam` count.
      out: folder of the findings; those of an earlier inspection are replaced.

    Raises:
      BadDataError: there is nothing to inspect.
      ConfigError: the folder cannot be written, or the workers of `beam.args` cannot be used.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    check_beam_args(config, workdir=out)
    data = data.resolve()
    source, facts, base = _input(data, config, out.resolve())
    folder = out / "findings"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror}); give --out") from None
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary,
        beam.Pipeline(options=PipelineOptions(beam_args(config))) as job,
    ):
        # Without a key of the user's, the hashes are this inspection's own: a key that lay beside
        # the page would be passed on with it.
        settings = ingest_settings(config, Path(temporary) / "patient.key")
        ingest(
            job,
            settings,
            source,
            key_reference=settings.patient_key,
            findings_uri=str(folder),
            temporary_uri=temporary,
            examples_uri=None,
        )
    on_leak = settings.on_leak_under(source.split_by)
    would_stop = None
    if source.split_by is not SplitBy.NOTHING:
        would_stop = _why_a_run_would_stop(folder, facts.rows, config, on_leak)
    return Inspected(folder, base, on_leak, would_stop)


def _why_a_run_would_stop(folder: Path, rows: int, config: RunConfig, on_leak: str) -> str | None:
    try:
        check_outcome(
            read_outcome(folder),
            rows=rows,
            max_quarantined=config.ingest.max_quarantined,
            stop_on_leak=on_leak == STOP,
            where=str(folder / quarantine.FILE_NAME),
            leaks_file=str(folder / LEAKS_FILE),
            reference=config.split.reference,
        )
    except BadDataError as error:
        return str(error)
    return None
