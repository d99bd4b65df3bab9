"""What steps ask a cluster for: cores, memory, accelerators, retries, a volume."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import duration_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.config import BeamResources, KubeflowConfig, TrainerResources


def _ask(
    container: pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec,
    wanted: TrainerResources | BeamResources,
) -> None:
    # The same as request and limit: a step that may grow beyond what it asked for is killed late.
    if wanted.cpu:
        container.resources.cpu_request = container.resources.cpu_limit = wanted.cpu
    if wanted.memory_gb:
        container.resources.memory_request = wanted.memory_gb
        container.resources.memory_limit = wanted.memory_gb


def ask_for_resources(
    deployment: pipeline_spec_pb2.PipelineDeploymentConfig,
    wanted: KubeflowConfig,
    *,
    trainer: str,
    beam_steps: Iterable[str],
) -> None:
    """Write what steps need into their containers.

    Args:
      deployment: changed in place.
      wanted: by the configuration.
      trainer: the executor of the Trainer.
      beam_steps: the executors of the Beam steps.
    """
    for name in beam_steps:
        _ask(deployment.executors[name].container, wanted.beam)
    container = deployment.executors[trainer].container
    _ask(container, wanted.trainer)
    if wanted.trainer.accelerator:
        container.resources.accelerator.type = wanted.trainer.accelerator
        container.resources.accelerator.count = wanted.trainer.accelerators


def retry_policy(wanted: KubeflowConfig) -> pipeline_spec_pb2.PipelineTaskSpec.RetryPolicy:
    """How often, and after how long, a failed step begins anew."""
    return pipeline_spec_pb2.PipelineTaskSpec.RetryPolicy(
        max_retry_count=wanted.retries,
        backoff_duration=duration_pb2.Duration(seconds=wanted.retry_seconds),
        backoff_factor=2.0,
    )


def kubernetes_platform(executors: Iterable[str], wanted: KubeflowConfig) -> dict[str, Any] | None:
    """The second document of a definition, which only open-source KFP reads; None where not needed.

    Args:
      executors: of all steps.
      wanted: by the configuration.
    """
    if wanted.volume_claim is None:
        return None
    mount = {"constant": wanted.volume_claim, "mountPath": wanted.volume_path}
    by_executor = {name: {"pvcMount": [dict(mount)]} for name in sorted(executors)}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": by_executor}}}}
