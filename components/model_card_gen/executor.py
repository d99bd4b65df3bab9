"""The work of ModelCardGen."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.model_card_gen.artifact import MODEL_CARD
from components.model_card_gen.card import render_model_card
from components.run_facts.facts import RunSettings, gather_facts
from transform.whole_file import write_whole


class Executor(base_executor.BaseExecutor):
    """Executor of ModelCardGen."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Gather the facts and write the card."""
        self._log_startup(input_dict, output_dict, exec_properties)
        facts = gather_facts(input_dict, RunSettings.from_json(exec_properties["settings"]))
        folder = artifact_utils.get_single_uri(output_dict["model_card"])
        write_whole(f"{folder}/{MODEL_CARD}", render_model_card(facts).encode())
