"""The work of ShortcutProbes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.shortcut_probes.probes import run_probes
from transform.ct_example import TEST, TRAIN


def _files(examples: list[types.Artifact], split: str) -> list[str]:
    return sorted(tf.io.gfile.glob(f"{artifact_utils.get_split_uri(examples, split)}/*"))


class Executor(base_executor.BaseExecutor):
    """Executor of ShortcutProbes."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Ask the model about altered slices and write what came of it."""
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict["model"])
        results = run_probes(
            path_utils.serving_model_path(model.uri),
            _files(input_dict["examples"], TRAIN),
            _files(input_dict["examples"], TEST),
            exec_properties["slices"],
        )
        for probe in results.probes:
            logging.log(
                logging.WARNING if probe.suspicious else logging.INFO,
                "%s: %s",
                *(probe.title, probe.sentence),
            )
        results.write(artifact_utils.get_single_uri(output_dict["probes"]))
