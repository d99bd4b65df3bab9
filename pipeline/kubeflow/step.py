"""What a container of the compiled definition runs: one step.

TFX has such an entry point. This one stands in front of it, for what TFX leaves to Vertex AI: types
of inputs, object storage, runtime parameters, and what a run leaves for the next ones.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import tfx.v1  # noqa: F401 before everything that imports TFDV or TFMA
from absl import logging
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor
from tfx.types.artifact import Artifact
from tfx.utils import import_utils, name_utils

from components.ct_example_gen.quarantine import Quarantine
from components.last_accepted.record import MODEL, STATISTICS, Accepted, remember
from components.model_card_gen.artifact import ModelCard
from components.object_storage.local_artifacts import LocalArtifacts
from components.report_gen.report import Report
from components.shortcut_probes.artifact import ShortcutProbes
from pipeline.kubeflow.executor_input import Message, artifacts_of, complete, parameters_of
from pipeline.kubeflow.runtime_parameters import take_up
from pipeline.kubeflow.step_names import CHANNEL
from pipeline.summary import ExitCode
from transform.errors import BadDataError, ConfigError, CtnetError

OWN_ARTIFACTS: tuple[type[Artifact], ...] = (ModelCard, Quarantine, Report, ShortcutProbes)
"""TFX takes the name of a type that it does not know for the path of its class."""

# The input of a step that is the one accepted last, once the step has ended well.
_ACCEPTED_BY = {"SliceValidator": STATISTICS, "SliceEvaluator": MODEL}

_BLESSED = "blessed"
# Set by open-source KFP, whose launcher fetches inputs and stores outputs around a step.
_LAUNCHER_VARIABLE = "KFP_POD_NAME"
# Of the launcher, too: where its folders of object storage are, which is the root if unset.
_LAUNCHER_ROOT_VARIABLE = "ARTIFACT_LOCAL_PATH"

_IN_PROCESS = ("", "DirectRunner", "BundleBasedDirectRunner", "FnApiRunner")


def _workers_are_elsewhere(executor_class: str, beam_args: list[str]) -> bool:
    """Whether a step's Beam workers see no folder of this machine."""
    executor = import_utils.import_class_by_path(executor_class)
    if not issubclass(executor, base_beam_executor.BaseBeamExecutor):
        return False
    runner = PipelineOptions(beam_args).view_as(StandardOptions).runner or ""
    return runner.rsplit(".", 1)[-1] not in _IN_PROCESS


def _parsed(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m pipeline.kubeflow.step", allow_abbrev=False)
    parser.add_argument("--step", required=True)
    parser.add_argument("--last_accepted", required=True, metavar="FOLDER")
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args")
    return parser.parse_known_args(arguments)


def _localise(executor_input: Message, artifacts: LocalArtifacts) -> None:
    for one in artifacts_of(executor_input["inputs"]):
        one["uri"] = artifacts.fetch(one["uri"])
    for one in artifacts_of(executor_input["outputs"]):
        one["uri"] = artifacts.place(one["uri"])


def _run_executor(
    options: argparse.Namespace, beam_args: list[str], executor_input: Message
) -> Message:
    """Have TFX's entry point run the executor; gives the executor output."""
    known = argparse.Namespace(
        executor_class_path=options.executor_class_path,
        json_serialized_invocation_args=json.dumps(executor_input),
        json_serialized_inputs_spec_args=options.json_serialized_inputs_spec_args,
    )
    kubeflow_v2_run_executor.main((known, beam_args))
    with fileio.open(executor_input["outputs"]["outputFile"], "r") as file:
        output: Message = json.loads(file.read())
    return output


def _note_accepted(step: str, folder: str, inputs: Message, output: Message) -> None:
    """Note what passed, for the next runs."""
    name = _ACCEPTED_BY.get(step)
    if name is None:
        return
    blessings = output.get("artifacts", {}).get("blessing", {}).get("artifacts", [])
    if name == MODEL and not any(one.get("metadata", {}).get(_BLESSED) == 1 for one in blessings):
        return
    for one in inputs["artifacts"][name]["artifacts"]:
        remember(folder, name, Accepted(one["uri"], one.get("metadata") or {}))


def run_step(arguments: list[str], launcher: Path | None) -> None:
    """Run one step.

    Args:
      arguments: of its command line; what is not known here is for Beam.
      launcher: the folder under which the launcher keeps its copies of object storage, or None.

    Raises:
      CtnetError: a failure that needs no traceback.
    """
    options, beam_args = _parsed(arguments)
    for own in OWN_ARTIFACTS:
        compiler_utils.TITLE_TO_CLASS_PATH[own.TYPE_NAME] = name_utils.get_full_name(own)
    executor_input: Message = json.loads(options.json_serialized_invocation_args)
    complete(executor_input, options.json_serialized_inputs_spec_args)
    given = {
        name: value
        for name, value in parameters_of(executor_input).items()
        if not name.startswith(CHANNEL)
    }
    executor_input["inputs"]["parameterValues"] = take_up(options.step, given)
    inputs_before = json.loads(json.dumps(executor_input["inputs"]))
    output_file = executor_input["outputs"]["outputFile"]

    if _workers_are_elsewhere(options.executor_class_path, beam_args):
        output = _run_executor(options, beam_args, executor_input)
    else:
        # Always the same one: a training that begins anew knows its files by their paths.
        temporary = Path(tempfile.gettempdir()) / f"ctnet-{options.step}"
        artifacts = LocalArtifacts(temporary / "artifacts", launcher)
        try:
            _localise(executor_input, artifacts)
            executor_input["outputs"]["outputFile"] = f"{temporary}/task/output.json"
            output = _run_executor(options, beam_args, executor_input)
            for one in artifacts_of(output):
                one["uri"] = artifacts.address_of(one["uri"])
                metadata = one.get("metadata", {})
                for name, value in metadata.items():
                    if isinstance(value, str):
                        metadata[name] = artifacts.address_of(value)
            artifacts.publish()
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        fileio.makedirs(os.path.dirname(output_file))  # noqa: PTH120 it may be an address
        with fileio.open(output_file, "w") as file:
            file.write(json.dumps(output))
    _note_accepted(options.step, options.last_accepted, inputs_before, output)


def _exit_code_of(error: CtnetError) -> ExitCode:
    if isinstance(error, ConfigError):
        return ExitCode.USAGE
    return ExitCode.BAD_DATA if isinstance(error, BadDataError) else ExitCode.FAILED


def main() -> None:
    """Run the step of the command line; a failure that a user can cause ends in one line."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    launcher = None
    if os.environ.get(_LAUNCHER_VARIABLE):
        launcher = Path(os.environ.get(_LAUNCHER_ROOT_VARIABLE) or "/")
    try:
        run_step(sys.argv[1:], launcher)
    except CtnetError as error:
        sys.stderr.write(f"ctnet: {error}\n")
        sys.exit(_exit_code_of(error))


if __name__ == "__main__":
    main()
