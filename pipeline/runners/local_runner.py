"""Run a pipeline on this machine, step by step, and tell how each step goes."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable
from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration import metadata
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils

from components.report_gen import step_times
from components.report_gen.step_times import StepTime

_RESOLVER = f"{Resolver.__module__}.{Resolver.__name__}"


@dataclasses.dataclass(frozen=True)
class Listener:
    """Who is told of steps.

    Attributes:
      begun: called with a step's name and its number from 1 and the number of steps.
      ended: called with the result.
    """

    begun: Callable[[str, int, int], None]
    ended: Callable[[StepTime], None]


class FailedStepError(Exception):
    """A step failed; the cause is the exception's `__cause__`.

    Attributes:
      step: its name.
    """

    def __init__(self, step: str):
        super().__init__(step)
        self.step = step


def _was_cached(store: ml_metadata.MetadataStore, execution_id: int) -> bool:
    (execution,) = store.get_executions_by_id([execution_id])
    return execution.last_known_state == metadata_store_pb2.Execution.CACHED


def run_pipeline(pipeline: tfx_pipeline.Pipeline, listener: Listener) -> dict[str, int]:
    """Run every step in order, as TFX's LocalDagRunner does, which tells nobody of its steps.

    After each of them, the report's step can read how long those before it took.

    Args:
      pipeline: with a metadata connection.
      listener: told of each step.

    Returns:
      The execution's id in ML Metadata by step.

    Raises:
      FailedStepError: from the step's exception.
    """
    compiled = compiler.Compiler().compile(pipeline)
    run_id = datetime.datetime.now().isoformat()
    runtime_parameter_utils.substitute_runtime_parameter(
        compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    times_folder = Path(pipeline.pipeline_info.pipeline_root) / step_times.FOLDER
    deployment = runner_utils.extract_local_deployment_config(compiled)
    connection = getattr(
        deployment.metadata_connection_config,
        deployment.metadata_connection_config.WhichOneof("connection_config"),
    )
    executions = {}
    times: list[StepTime] = []
    # A resolver only looks something up: it has nothing to show, and nothing to cache.
    shown = [
        node.pipeline_node.node_info.id
        for node in compiled.nodes
        if node.pipeline_node.node_info.type.name != _RESOLVER
    ]
    for node in compiled.nodes:
        step = node.pipeline_node.node_info.id
        if step in shown:
            listener.begun(step, shown.index(step) + 1, len(shown))
        began = time.monotonic()
        try:
            info = launcher.Launcher(
                pipeline_node=node.pipeline_node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=compiled.pipeline_info,
                pipeline_runtime_spec=compiled.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, step),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, step),
            ).launch()
        except Exception as error:
            raise FailedStepError(step) from error
        cached = False
        if info is not None and info.execution_id is not None:
            executions[step] = info.execution_id
            with metadata.Metadata(connection) as handle:
                cached = _was_cached(handle.store, info.execution_id)
        if step in shown:
            times.append(StepTime(step, time.monotonic() - began, cached))
            # The report can do without times; a run that has trained must not end for them.
            with contextlib.suppress(OSError):
                step_times.write_step_times(times_folder, run_id, times)
            listener.ended(times[-1])
    return executions
