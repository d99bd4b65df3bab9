"""The contract of CTExampleGen."""

from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.ct_example_gen.executor import Executor
from components.ct_example_gen.quarantine import Quarantine


class CTExampleGenSpec(types.ComponentSpec):
    """Parameters and outputs of CTExampleGen."""

    PARAMETERS = {  # noqa: RUF012 TFX reads these
        "manifest": component_spec.ExecutionParameter(type=str),
        "input_fingerprint": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
        "settings": component_spec.ExecutionParameter(type=str),
        "quarantine_copy": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS: dict[str, Any] = {}  # noqa: RUF012
    OUTPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": component_spec.ChannelParameter(type=Quarantine),
    }


class CTExampleGen(base_beam_component.BaseBeamComponent):
    """Turn a manifest and its image files into CT examples, split by patient.

    Outputs:
      examples: gzipped TFRecord of CT examples in the splits train, eval and test.
      quarantine: every slice that is in no split, with its reason.
    """

    SPEC_CLASS = CTExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        *,
        manifest: str,
        input_fingerprint: str,
        code_version: str,
        window: tuple[float, float],
        root: str | None,
        on_leak: str,
        max_quarantined: float,
        split: dict[str, Any],
        quarantine_copy: str | None = None,
    ):
        """Describe one ingestion.

        Args:
          manifest: path of the manifest.
          input_fingerprint: changes when the manifest or its files do, so that the cache misses.
          code_version: changes when the code of the ingestion does, likewise.
          window: HU of black and white in pictures that lost their Hounsfield units.
          root: folder outside of which no file is read, or None.
          on_leak: "stop", "drop_from_train" or "report", for a patient in two splits.
          max_quarantined: share of the rows above which the run stops.
          split: `by`, `train`, `eval` and `test` of the split by hash.
          quarantine_copy: a file that gets the quarantine also when the run stops.
        """
        settings = {
            "window": list(window),
            "root": root,
            "on_leak": on_leak,
            "max_quarantined": max_quarantined,
            "split": split,
        }
        super().__init__(
            spec=CTExampleGenSpec(
                manifest=manifest,
                input_fingerprint=input_fingerprint,
                code_version=code_version,
                settings=json.dumps(settings, sort_keys=True),
                quarantine_copy=quarantine_copy,
                examples=types.Channel(type=standard_artifacts.Examples),
                quarantine=types.Channel(type=Quarantine),
            )
        )
