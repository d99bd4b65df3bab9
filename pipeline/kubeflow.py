"""The same DAG as a Kubeflow Pipelines v2 definition."""

from __future__ import annotations

from pathlib import Path

import tfx.v1  # noqa: F401 before everything that imports TFDV or TFMA
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from pipeline.config import RunConfig
from pipeline.dag import Places, build_pipeline
from pipeline.ingest_settings import cluster_ingest_settings
from trainer.weights import unresolved_weights, weights_without_blessed_model
from transform.errors import ConfigError
from transform.prediction import MODEL_NAME
from transform.schema import SCHEMA_FILE

IMAGE_HOME = "/opt/ctnet"
"""Where deploy/Dockerfile puts this distribution."""

_SUFFIXES = (".yaml", ".yml", ".json")


def compile_for_kubeflow(
    config: RunConfig, *, manifest: str, root: str, image: str, output: Path
) -> None:
    """Write the definition; nothing is read from or sent to the network.

    The image is one that deploy/Dockerfile builds.

    Args:
      config: checked; `beam.args` reach every Beam step.
      manifest: the manifest's path as the steps see it.
      root: folder of the artifacts, on a volume that every step mounts (our steps read their
        inputs through local paths); models go to `root/serving`.
      image: of every step.
      output: a .yaml file for Kubeflow Pipelines or a .json file for Vertex AI.

    Raises:
      ConfigError: the output's name or folder cannot be used.
    """
    if output.suffix not in _SUFFIXES:
        raise ConfigError(f"--output {output}: must end in {', '.join(_SUFFIXES)}")
    if not output.parent.is_dir():
        raise ConfigError(f"--output {output}: its folder does not exist")
    pipeline = build_pipeline(
        config,
        Places(
            data=manifest,
            fingerprint="",
            key_fingerprint="",
            split_given=False,
            ingest=cluster_ingest_settings(config, f"{root}/patient.key"),
            root=root,
            serving=f"{root}/serving/{MODEL_NAME}",
            schema=f"{IMAGE_HOME}/transform/{SCHEMA_FILE.name}",
            findings_copy=None,
        ),
        # The steps find and check the file; here only its name is known.
        unresolved_weights(
            weights_without_blessed_model(config.model.weights, config.model.backbone)
        ),
        metadata_file=None,
        image=image,
    )
    kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            display_name=config.name, default_image=image
        ),
        output_dir=str(output.parent),
        output_filename=output.name,
    ).run(pipeline)
