"""The Beam job of a bulk scoring: rows in; slices, patients and quarantine out, in part files.

Rows are cut into shards in their order. A shard is read by one worker, which also asks the model
(Beam's RunInference), so that pixels never travel; what comes out is small and is put in order
again part by part.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from pipeline.scoring import part_files
from pipeline.scoring.model_handler import SliceModelHandler
from pipeline.scoring.patient_mean import CombineTallies, tally_quarantined, tally_scored
from pipeline.scoring.read_slices import ReadSlices, ScoringSettings
from pipeline.scoring.scored_model import ScoredModel
from pipeline.scoring.scored_slice import (
    COUNTED,
    QUARANTINED,
    PlacedInQuarantine,
    ScoredSlice,
    part_of,
)
from pipeline.scoring.scoring_rows import (
    ScoringRow,
    ScoringSource,
    file_of,
    read_rows,
    refuse_repeated,
)

ROWS_A_SHARD = 128
"""A multiple of the usual batches; a shard's last batch may be a part of one."""


def _shard_of(row: ScoringRow) -> int:
    return row.position // ROWS_A_SHARD


def _split_refused(
    answer: ScoredSlice | PlacedInQuarantine,
) -> Iterator[ScoredSlice | beam.pvalue.TaggedOutput]:
    yield answer if isinstance(answer, ScoredSlice) else answer.tagged()


def _add_counts(counts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    rows = slices = 0
    for one_rows, one_slices in counts:
        rows += one_rows
        slices += one_slices
    return rows, slices


def _write_parts(placed: beam.PCollection, folder: Path, label: str) -> None:
    """Write (part, (place, record)) to a file a part."""
    _ = (
        placed
        | f"Group{label}" >> beam.GroupByKey()
        | f"Write{label}" >> beam.Map(part_files.write_part, str(folder))
    )


def score_slices(
    pipeline: beam.Pipeline,
    source: ScoringSource,
    model: ScoredModel,
    settings: ScoringSettings,
    folder: Path,
) -> None:
    """Add the job to a Beam pipeline.

    Args:
      pipeline: the pipeline to add to.
      source: what to read.
      model: what to ask.
      settings: how to read.
      folder: gets `part_files.FOLDERS`, which must be there; all workers must see it.
    """
    version = model.version
    rows = (
        pipeline
        | "Source" >> beam.Create([source], reshuffle=False)
        | "ReadRows" >> beam.FlatMap(read_rows)
        | "KeyByFile" >> beam.WithKeys(file_of)
        | "GroupByFile" >> beam.GroupByKey()
        | "RefuseRepeated" >> beam.FlatMap(refuse_repeated)
    )
    read = (
        rows
        | "KeyByShard" >> beam.WithKeys(_shard_of)
        | "GroupByShard" >> beam.GroupByKey()
        | "ReadSlices"
        >> beam.ParDo(ReadSlices(settings)).with_outputs(QUARANTINED, COUNTED, main="batches")
    )
    handler = SliceModelHandler(
        str(model.folder), model.number, str(folder / part_files.PROGRESS)
    ).with_no_batching()
    answered = (
        read.batches
        | "AskTheModel" >> RunInference(handler)
        | "SplitRefused" >> beam.FlatMap(_split_refused).with_outputs(QUARANTINED, main="scored")
    )
    quarantined = (read[QUARANTINED], answered[QUARANTINED]) | "AllQuarantined" >> beam.Flatten()
    _write_parts(
        answered.scored
        | "PlaceSlices"
        >> beam.Map(
            lambda one: (part_of(one.name.place), (one.name.place, one.to_record(version)))
        ),
        folder / part_files.SLICES,
        "Slices",
    )
    _write_parts(
        quarantined
        | "PlaceQuarantined"
        >> beam.Map(lambda one: (part_of(one.place), (one.place, json.loads(one.slice.to_json())))),
        folder / part_files.QUARANTINE,
        "Quarantine",
    )
    tallies = (
        answered.scored | "TallyScored" >> beam.Map(tally_scored),
        quarantined | "TallyQuarantined" >> beam.Map(tally_quarantined),
    ) | "AllTallies" >> beam.Flatten()
    _write_parts(
        tallies
        # A row that names neither a file nor a patient is nobody's.
        | "OfSomebody" >> beam.Filter(lambda one: bool(one[0]))
        | "AddTallies" >> beam.CombinePerKey(CombineTallies())
        | "PlacePatients"
        >> beam.MapTuple(
            lambda patient, tally: (
                part_of(tally.first),
                (tally.first, tally.to_record(patient, version)),
            )
        ),
        folder / part_files.PATIENTS,
        "Patients",
    )
    _write_parts(
        read[COUNTED]
        | "AddCounts" >> beam.CombineGlobally(_add_counts)
        | "PlaceCounts"
        >> beam.MapTuple(lambda rows, slices: ((0, 0), ((0, 0), {"rows": rows, "slices": slices}))),
        folder / part_files.COUNTS,
        "Counts",
    )
