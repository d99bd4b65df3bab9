"""The work of CTExampleGen: run the Beam job, then judge what came of it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components.ct_example_gen import quarantine
from components.ct_example_gen.ingestion import (
    SLICES_A_SHARD,
    TEMPORARY,
    IngestSettings,
    ingest,
)
from components.ct_example_gen.manifest import survey_manifest
from components.ct_example_gen.outcome import check_outcome, read_outcome
from components.ct_example_gen.splitting import SplitShares
from transform.ct_example import SPLITS


def _keep_a_copy(quarantine_uri: str, destination: str) -> None:
    """Leave the quarantine where it outlives a stopped run, whose artifacts TFX removes."""
    unfinished = f"{destination}.{os.getpid()}"
    tf.io.gfile.makedirs(os.path.dirname(destination))  # noqa: PTH120 may be a remote path
    tf.io.gfile.copy(f"{quarantine_uri}/{quarantine.FILE_NAME}", unfinished, overwrite=True)
    tf.io.gfile.rename(unfinished, destination, overwrite=True)


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
          BadDataError: going on would mislead; the quarantine's copy stays.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        quarantined = artifact_utils.get_single_instance(output_dict["quarantine"])
        settings = json.loads(exec_properties["settings"])
        manifest = exec_properties["manifest"]
        facts = survey_manifest(Path(manifest))
        shares = None if facts.rows_with_split else SplitShares(**settings["split"])

        with self._make_beam_pipeline() as pipeline:
            ingest(
                pipeline,
                IngestSettings(
                    manifest=manifest,
                    window=tuple(settings["window"]),
                    root=settings["root"],
                    shares=shares,
                    on_leak=settings["on_leak"],
                    shards=math.ceil(facts.rows / SLICES_A_SHARD),
                ),
                examples_uri=examples.uri,
                quarantine_uri=quarantined.uri,
            )
        if tf.io.gfile.exists(f"{examples.uri}/{TEMPORARY}"):
            tf.io.gfile.rmtree(f"{examples.uri}/{TEMPORARY}")
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))

        copy = exec_properties.get("quarantine_copy")
        if copy:
            _keep_a_copy(quarantined.uri, copy)
        outcome = read_outcome(Path(quarantined.uri))
        check_outcome(
            outcome,
            rows=facts.rows,
            max_quarantined=settings["max_quarantined"],
            # Under split.by: image the leak is what the user asked for; the summary names it.
            stop_on_leak=settings["on_leak"] == "stop" and (shares is None or shares.by != "image"),
            where=copy or quarantined.uri,
        )
        examples.set_string_custom_property("outcome", json.dumps(dataclasses.asdict(outcome)))
