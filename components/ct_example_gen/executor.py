"""The work of CTExampleGen: run the Beam job, then judge what came of it."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components.ct_example_gen import findings, quarantine
from components.ct_example_gen.ingestion import IngestInput, count_shards, ingest
from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.outcome import check_outcome, read_outcome
from components.ct_example_gen.patient_ids import ENVIRONMENT, make_key
from components.ct_example_gen.settings import STOP, IngestSettings
from components.ct_example_gen.spans import newest_span, resolve_manifests
from transform.ct_example import SPLITS

SPAN = "span"
"""Custom property of the Examples artifact, as in TFX: the newest span that is in it."""

# Inside the artifact, so that what a crash leaves goes when TFX removes it.
_TEMPORARY = ".unfinished"

_KEPT = (quarantine.FILE_NAME, findings.DUPLICATES_FILE, findings.LEAKS_FILE)


def _keep_copies(source: str, folder: str) -> None:
    """Leave the findings where they outlive a stopped run, whose artifacts TFX removes."""
    tf.io.gfile.makedirs(folder)
    for name in _KEPT:
        unfinished = f"{folder}/.{name}.{os.getpid()}"
        tf.io.gfile.copy(f"{source}/{name}", unfinished, overwrite=True)
        tf.io.gfile.rename(unfinished, f"{folder}/{name}", overwrite=True)


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor of CTExampleGen."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Run the ingestion.

        Raises:
          BadDataError: going on would mislead; copies of the findings stay.
          ConfigError: the key of the patient ids cannot be made, or the settings do not go with
            the manifest.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        quarantined = artifact_utils.get_single_instance(output_dict["quarantine"])
        settings = IngestSettings.from_json(exec_properties["settings"])
        manifests = resolve_manifests(
            Path(exec_properties["data"]), settings.span, settings.reference
        )
        facts = survey_manifests(manifests)
        split_by = settings.split_source(split_given=facts.rows_with_split > 0)

        if settings.patient_key and not settings.patient_key.startswith(ENVIRONMENT):
            make_key(Path(settings.patient_key))
        temporary = f"{examples.uri}/{_TEMPORARY}"
        with self._make_beam_pipeline() as pipeline:
            ingest(
                pipeline,
                settings,
                IngestInput(manifests, count_shards(facts), split_by),
                key_reference=settings.patient_key,
                findings_uri=quarantined.uri,
                temporary_uri=temporary,
                examples_uri=examples.uri,
            )
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.rmtree(temporary)
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        newest = newest_span(manifests)
        if newest is not None:
            examples.set_int_custom_property(SPAN, newest)

        kept = exec_properties.get("findings_copy")
        if kept:
            _keep_copies(quarantined.uri, kept)
        where = kept or quarantined.uri
        outcome = read_outcome(Path(quarantined.uri))
        copies = settings.augment_first
        check_outcome(
            outcome,
            rows=facts.rows,
            max_quarantined=settings.max_quarantined,
            stop_on_leak=settings.on_leak_under(split_by) == STOP,
            where=f"{where}/{quarantine.FILE_NAME}",
            leaks_file=f"{where}/{findings.LEAKS_FILE}",
            examples_per_class=copies.examples_per_class if copies else None,
            reference=settings.reference,
        )
        examples.set_string_custom_property("outcome", json.dumps(dataclasses.asdict(outcome)))
