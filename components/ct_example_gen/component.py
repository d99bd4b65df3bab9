"""The contract of CTExampleGen."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.ct_example_gen.executor import Executor
from components.ct_example_gen.quarantine import Quarantine
from components.ct_example_gen.settings import IngestSettings


class CTExampleGenSpec(types.ComponentSpec):
    """Parameters and outputs of CTExampleGen."""

    PARAMETERS = {  # noqa: RUF012 TFX reads these
        "data": component_spec.ExecutionParameter(type=str),
        "input_fingerprint": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
        "settings": component_spec.ExecutionParameter(type=str),
        "findings_copy": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS: dict[str, Any] = {}  # noqa: RUF012
    OUTPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": component_spec.ChannelParameter(type=Quarantine),
    }


class CTExampleGen(base_beam_component.BaseBeamComponent):
    """Turn manifests and the image files that they name into CT examples, split by patient.

    Outputs:
      examples: gzipped TFRecord of CT examples in the splits train, eval and test.
      quarantine: every slice that is in no split, with its reason; near-duplicates and leaks.
    """

    SPEC_CLASS = CTExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        *,
        data: str,
        input_fingerprint: str,
        code_version: str,
        settings: IngestSettings,
        findings_copy: str | None = None,
    ):
        """Describe one ingestion.

        Args:
          data: a manifest, or a folder of spans.
          input_fingerprint: changes when the manifests or their files do, or the key of the
            patient ids, so that the cache misses.
          code_version: changes when the code of the ingestion does, likewise.
          settings: what to do with what is found.
          findings_copy: a folder that gets the quarantine, the near-duplicates and the leaks also
            when the run stops.
        """
        super().__init__(
            spec=CTExampleGenSpec(
                data=data,
                input_fingerprint=input_fingerprint,
                code_version=code_version,
                settings=settings.to_json(),
                findings_copy=findings_copy,
                examples=types.Channel(type=standard_artifacts.Examples),
                quarantine=types.Channel(type=Quarantine),
            )
        )
