"""What runs that were killed left undone: their executions are ended, their half outputs removed.

TFX notes a step's execution as running before the step begins, and its outputs in one transaction
when it has ended. A killed run therefore leaves an execution that runs for ever and folders that
no artifact names.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ml_metadata import ListOptions, MetadataStore
from ml_metadata.proto import metadata_store_pb2

from pipeline.run_folder.outputs import open_store
from pipeline.run_folder.workdir import Workdir

# What TFX 1.21 calls them, in tfx/orchestration/portable/outputs_utils.py and the DSL's compiler.
_STEP_CONTEXT = "node"
_SYSTEM = ".system"
_OF_EXECUTIONS = "executor_execution"
_WORKING_FOLDERS = "stateful_working_dir"

_Execution = metadata_store_pb2.Execution


def _step_of(store: MetadataStore, execution: int) -> str | None:
    """The step whose execution it is; None where the run was killed before that was noted."""
    types = {one.id: one.name for one in store.get_context_types()}
    for context in store.get_contexts_by_execution(execution):
        if types[context.type_id] == _STEP_CONTEXT:
            # A step's context is called PIPELINE.STEP.
            return context.name.rpartition(".")[2]
    return None


def _leftovers(step: Path, execution: int) -> list[Path]:
    """The folders that an execution of a step made."""
    outputs = [key / str(execution) for key in step.iterdir() if not key.name.startswith(".")]
    return [*outputs, step / _SYSTEM / _OF_EXECUTIONS / str(execution)]


def end_unfinished_executions(workdir: Workdir) -> list[str]:
    """Mark the executions that killed runs left as canceled, and remove what they had written.

    What a finished execution put out stays, and so do the Trainer's checkpoints, from which
    training goes on.

    Args:
      workdir: locked by this run, so that no other is at work there.

    Returns:
      The steps that had not ended.
    """
    if not workdir.metadata.exists():
        return []
    store = open_store(workdir)
    running = store.get_executions(
        ListOptions(filter_query="last_known_state = RUNNING OR last_known_state = NEW")
    )
    steps = []
    for execution in running:
        step = _step_of(store, execution.id)
        # The folders first: a run that is killed here finds the execution again.
        if step is not None and (folder := workdir.artifacts / step).is_dir():
            for leftover in _leftovers(folder, execution.id):
                if leftover.exists():
                    shutil.rmtree(leftover)
        execution.last_known_state = _Execution.CANCELED
        store.put_executions([execution])
        steps.append(step or "")
    # TFX removes them when a step ends well; no step is at work now.
    for working in workdir.artifacts.glob(f"*/{_SYSTEM}/{_WORKING_FOLDERS}/*"):
        shutil.rmtree(working)
    return steps
