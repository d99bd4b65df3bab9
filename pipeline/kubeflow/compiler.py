"""The DAG as a Kubeflow Pipelines v2 definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tfx.v1 as tfx  # before everything that imports TFDV or TFMA
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.dsl.components.base import base_beam_component
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from pipeline.config import RunConfig
from pipeline.dag import LAST_ACCEPTED_FOLDER, TRAINER_ID, Places, build_pipeline
from pipeline.ingest_settings import cluster_ingest_settings
from pipeline.kubeflow.places import checked_root, home_of
from pipeline.kubeflow.resources import ask_for_resources, kubernetes_platform, retry_policy
from pipeline.kubeflow.runtime_parameters import RUNTIME_PARAMETERS
from pipeline.kubeflow.step_names import CHANNEL, ENTRY_POINT, IMAGE, TRAINER_IMAGE
from trainer.weights import unresolved_weights, weights_without_blessed_model
from transform.errors import ConfigError
from transform.prediction import MODEL_NAME
from transform.schema import SCHEMA_FILE

IMAGE_HOME = "/opt/ctnet"
"""Where deploy/Dockerfile puts this distribution."""

_SUFFIXES = (".yaml", ".yml", ".json")
_VERTEX = ".json"

_KINDS = {
    str: pipeline_spec_pb2.ParameterType.STRING,
    int: pipeline_spec_pb2.ParameterType.NUMBER_INTEGER,
    float: pipeline_spec_pb2.ParameterType.NUMBER_DOUBLE,
}


def compile_for_kubeflow(
    config: RunConfig,
    *,
    data: str,
    root: str,
    image: str,
    output: Path,
    gpu_image: str | None = None,
) -> None:
    """Write the definition; nothing is read from or sent to the network.

    Args:
      config: checked; `beam.args` reach every Beam step.
      data: the manifest or the folder of spans, as the steps see it.
      root: the address of the artifacts.
      image: of every step; one that deploy/Dockerfile builds.
      output: a .yaml file for Kubeflow Pipelines or a .json file for Vertex AI.
      gpu_image: of the Trainer, where it is another.

    Raises:
      ConfigError: the output, the root or the home cannot be used.
    """
    if output.suffix not in _SUFFIXES:
        raise ConfigError(f"--output {output}: must end in {', '.join(_SUFFIXES)}")
    if not output.parent.is_dir():
        raise ConfigError(f"--output {output}: its folder does not exist")
    vertex = output.suffix == _VERTEX
    root = checked_root(root, vertex=vertex)
    home = home_of(config, root)
    pipeline = _pipeline(config, data, home, image)
    job = _compiled(pipeline, config, {TRAINER_ID: gpu_image} if gpu_image else {}, image)
    spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    deployment = json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec),
        pipeline_spec_pb2.PipelineDeploymentConfig(),
    )
    for name, executor in deployment.executors.items():
        executor.container.args.extend(
            [
                f"--step={name.removesuffix('_executor')}",
                f"--last_accepted={home}/{LAST_ACCEPTED_FOLDER}",
            ]
        )
    ask_for_resources(
        deployment,
        config.kubeflow,
        trainer=_executor_of(TRAINER_ID),
        beam_steps=[
            _executor_of(one.id)
            for one in pipeline.components
            if isinstance(one, base_beam_component.BaseBeamComponent)
        ],
    )
    if config.kubeflow.retries:
        for task in spec.root.dag.tasks.values():
            task.retry_policy.CopyFrom(retry_policy(config.kubeflow))
    _add_runtime_parameters(spec, config, data)
    if not vertex:
        # Open-source KFP resolves an image at run time; whether Vertex AI does is not documented.
        _add_image_parameters(spec, deployment)
    spec.deployment_spec.Clear()
    spec.deployment_spec.update(json_format.MessageToDict(deployment))
    spec.default_pipeline_root = root
    job["pipelineSpec"] = json_format.MessageToDict(spec)
    job["runtimeConfig"]["gcsOutputDirectory"] = root
    if vertex:
        text = json.dumps(job, indent=1, sort_keys=True)
    else:
        platform = kubernetes_platform(deployment.executors, config.kubeflow)
        documents = [job["pipelineSpec"], *([platform] if platform else [])]
        text = yaml.safe_dump_all(documents, sort_keys=True, width=100)
    output.write_text(text, encoding="utf-8")


def _executor_of(step: str) -> str:
    return f"{step}_executor"


def _pipeline(config: RunConfig, data: str, home: str, image: str) -> tfx.dsl.Pipeline:
    return build_pipeline(
        config,
        Places(
            data=data,
            fingerprint="",
            key_fingerprint="",
            split_given=False,
            ingest=cluster_ingest_settings(config, f"{home}/patient.key"),
            root=home,
            serving=f"{home}/serving/{MODEL_NAME}",
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


def _compiled(
    pipeline: tfx.dsl.Pipeline, config: RunConfig, images: dict[str, str], image: str
) -> dict[str, Any]:
    """The pipeline job as TFX compiles it, JSON in lower camel case."""
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            display_name=config.name,
            default_image={**images, "default_image_path": image},
            default_commands=list(ENTRY_POINT),
            # Open-source KFP reads no older schema.
            use_pipeline_spec_2_1=True,
        )
    )
    job: dict[str, Any] = runner.run(pipeline, write_out=False)
    return job


def _add_input(spec: pipeline_spec_pb2.PipelineSpec, task: str, name: str, of_run: str) -> None:
    """Hand a parameter of the run on to a task."""
    kind = spec.root.input_definitions.parameters[of_run].parameter_type
    component = spec.components[spec.root.dag.tasks[task].component_ref.name]
    component.input_definitions.parameters[name].parameter_type = kind
    handed = spec.root.dag.tasks[task].inputs.parameters[name]
    handed.Clear()
    handed.component_input_parameter = of_run


def _add_runtime_parameters(
    spec: pipeline_spec_pb2.PipelineSpec, config: RunConfig, data: str
) -> None:
    for one in RUNTIME_PARAMETERS:
        declared = spec.root.input_definitions.parameters[one.name]
        declared.parameter_type = _KINDS[one.kind]
        default = one.default(config, data)
        if isinstance(default, str):
            declared.default_value.string_value = default
        else:
            declared.default_value.number_value = default
        declared.is_optional = True
        declared.description = one.description
        for task in one.steps:
            _add_input(spec, task, one.name, one.name)


def _add_image_parameters(
    spec: pipeline_spec_pb2.PipelineSpec,
    deployment: pipeline_spec_pb2.PipelineDeploymentConfig,
) -> None:
    """Make the images parameters, as KFP's own compiler writes them."""
    trainer_image = deployment.executors[_executor_of(TRAINER_ID)].container.image
    images: dict[str, str] = {}
    for task in spec.root.dag.tasks:
        container = deployment.executors[_executor_of(task)].container
        images.setdefault(container.image, IMAGE if task != TRAINER_ID else TRAINER_IMAGE)
    if len(images) == 1:
        images[trainer_image] = IMAGE
    for image, name in images.items():
        declared = spec.root.input_definitions.parameters[name]
        declared.parameter_type = pipeline_spec_pb2.ParameterType.STRING
        declared.default_value.string_value = image
        declared.is_optional = True
        declared.description = f"the image of {'the Trainer' if name != IMAGE else 'every step'}"
    for task in spec.root.dag.tasks:
        container = deployment.executors[_executor_of(task)].container
        name = images[container.image]
        _add_input(spec, task, f"{CHANNEL}{name}", name)
        # Beam workers in containers run the same image.
        workers = {f"--sdk_container_image={one}" for one in images}
        container.image = f"{{{{$.inputs.parameters['{CHANNEL}{name}']}}}}"
        for place, argument in enumerate(container.args):
            if argument in workers:
                container.args[place] = f"--sdk_container_image={container.image}"
