"""One run: from a configuration and a manifest to a verdict."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import json
import shutil
import sqlite3
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.spans import resolve_manifests
from pipeline.config import RunConfig
from pipeline.leaks import describe_leaks
from pipeline.run_folder.folder_lock import alone_in
from pipeline.run_folder.full_disk import describe_full_disk
from pipeline.run_folder.metadata_backup import back_up_metadata, ensure_metadata
from pipeline.run_folder.run_log import output_to
from pipeline.run_folder.workdir import Workdir, open_workdir
from pipeline.runners.termination import Terminated
from pipeline.summary import Summary, Verdict
from pipeline.terminal import RunDisplay
from trainer.weights import (
    LAST_BLESSED,
    BackboneWeights,
    resolve_weights,
    unresolved_weights,
    weights_without_blessed_model,
)
from transform.errors import BadDataError, ConfigError, CtnetError

if TYPE_CHECKING:
    from components.report_gen.step_times import StepTime


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """What `ctnet run` is asked for.

    Attributes:
      config: checked.
      data: a manifest, or a folder of spans.
      workdir: the run's folder.
      accept_leak_alarm: let a model pass although it is too good to be true.
      refuse_drift: stop where the data has drifted from what was accepted last.
    """

    config: RunConfig
    data: Path
    workdir: Path
    accept_leak_alarm: bool = False
    refuse_drift: bool = False


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _find_weights(config: RunConfig, workdir: Workdir) -> BackboneWeights:
    """The weights that training begins with, checked before anything runs where that can be.

    Raises:
      ConfigError: they cannot be used.
    """
    weights = weights_without_blessed_model(config.model.weights, config.model.backbone)
    if config.model.weights != LAST_BLESSED:
        return resolve_weights(weights)
    if not workdir.metadata.exists():
        # No run yet, so that nothing is blessed and these will be needed.
        resolve_weights(weights)
    # Whether there is a blessed model or not, so that a repeated run is the same to the cache.
    return unresolved_weights(weights)


def _check_devices(config: RunConfig) -> None:
    """Look for the devices before the data is read, not when training begins.

    Raises:
      ConfigError: they are not there.
    """
    strategy = config.train.strategy
    if strategy == "multi_worker":
        raise ConfigError(
            "train.strategy: multi_worker trains in processes of its own, one a machine, and "
            "ctnet run cannot be one of them; docs/distribution.md says how to start them"
        )
    if strategy in ("mirrored", "tpu"):
        from trainer.distribution import make_devices

        make_devices(strategy, tpu=config.train.tpu)


def _execute(
    request: RunRequest,
    workdir: Workdir,
    display: RunDisplay,
    steps: list[StepTime],
    summary: Summary,
) -> dict[str, int]:
    """Build and run the DAG; heavy imports stand here, so that their noise goes to the log."""
    # What can be wrong with the input is said before the libraries are waited for.
    data = request.data.resolve()
    config = request.config
    facts = survey_manifests(resolve_manifests(data, config.ingest.span, config.split.reference))
    summary.fingerprint = facts.fingerprint
    summary.leaks = describe_leaks(request.config, split_given=facts.rows_with_split > 0)
    weights = _find_weights(request.config, workdir)
    _check_devices(request.config)

    import absl.logging
    import tfx.v1  # noqa: F401 before everything that imports TFDV or TFMA

    from pipeline.dag import build_pipeline, local_places
    from pipeline.ingest_settings import ingest_settings
    from pipeline.retraining.rollback import models_rolled_back_from
    from pipeline.run_folder.unfinished_executions import end_unfinished_executions
    from pipeline.runners.beam_args import check_beam_args
    from pipeline.runners.local_runner import FailedStepError, Listener, run_pipeline
    from trainer import progress

    absl.logging.set_verbosity(absl.logging.INFO)
    check_beam_args(config, workdir=workdir.root)
    # First: a rollback that was killed is an unfinished execution, too, and may have been done.
    rolled_back_from = models_rolled_back_from(workdir)
    end_unfinished_executions(workdir)
    settings = ingest_settings(request.config, workdir.patient_key)
    pipeline = build_pipeline(
        request.config,
        local_places(workdir, data, facts, settings),
        weights,
        workdir.metadata,
        accept_leak_alarm=request.accept_leak_alarm,
        refuse_drift=request.refuse_drift,
        rolled_back_from=rolled_back_from,
    )

    def ended(step: StepTime) -> None:
        steps.append(step)
        display.step_ended(step.name, step.seconds, step.cached)
        try:
            back_up_metadata(workdir)
        except (OSError, sqlite3.Error):
            # A run that has trained must not end for want of a copy.
            _log_traceback()

    try:
        with progress.telling(display.training_progress):
            return run_pipeline(pipeline, Listener(display.step_begun, ended))
    except FailedStepError as error:
        display.step_failed(error.step)
        cause = error.__cause__
        if isinstance(cause, CtnetError):
            raise type(cause)(f"{error.step}: {cause}") from cause
        raise RuntimeError(f"{error.step} failed: {_one_line(cause or error)}") from cause


def _conclude(workdir: Workdir, executions: dict[str, int], summary: Summary) -> None:
    """Fill the summary with what the steps left, and lay the report and quarantine out."""
    from components.run_facts.leaks import remaining_leaks
    from components.serving_validator.outcome import read_outcome
    from components.shortcut_probes.outcome import read_probes
    from components.slice_evaluator.evaluation import read_evaluation
    from components.slice_evaluator.gate import as_json
    from components.slice_validator.drift import read_drift
    from pipeline.rebuild_report import rebuild_report
    from pipeline.retraining import rollback
    from pipeline.run_folder import outputs as run_outputs
    from transform.training_record import read_record

    outputs = run_outputs.StepOutputs(run_outputs.open_store(workdir), executions)
    outcome = run_outputs.read_ingest_outcome(outputs)
    evaluation = outputs.folder("SliceEvaluator", "evaluation")
    gate = read_evaluation(evaluation).gate
    summary.counts = {
        "examples": run_outputs.count_examples(outcome),
        "quarantined": outcome.quarantined,
        "duplicates": {"groups": outcome.duplicates, "conflicts": outcome.conflicts},
        **({"copied": outcome.copied} if outcome.copied else {}),
    }
    summary.leaks += remaining_leaks(outcome)
    summary.drift = read_drift(outputs.folder("SliceValidator", "anomalies")).lines
    summary.metrics = gate.metrics
    summary.evaluation = str(evaluation)
    summary.bounds = as_json(gate.bounds)
    if gate.alarm and gate.alarm.suspicious:
        summary.leak_alarm = {
            "accepted": gate.alarm.accepted,
            "says": gate.alarm.says,
            "reasons": gate.alarm.reasons,
        }
    summary.refused = read_outcome(outputs.folder("ServingValidator", "blessing")).reason
    summary.refused = summary.refused or rollback.say_rolled_back_from(outputs, workdir)
    pushed = run_outputs.find_pushed(outputs, workdir)
    summary.verdict = Verdict.PUSHED if pushed else Verdict.NOT_BLESSED
    summary.model = str(outputs.folder("Trainer", "model") / "Format-Serving")
    summary.cautions = read_record(outputs.folder("Trainer", "model_run")).cautions
    if (looked := "ShortcutProbes") in executions:
        summary.shortcuts = read_probes(outputs.folder(looked, "probes")).shortcuts
    summary.started_from = run_outputs.read_start(outputs)
    if pushed:
        summary.model, summary.version = str(pushed.folder), pushed.version
        summary.serving = str(workdir.serving)
    # A cached step wrote nothing just now; what lies in the folder may be of another run.
    found = outputs.folder("CTExampleGen", "quarantine")
    for file in (workdir.quarantine, workdir.duplicates, workdir.leaks):
        shutil.copyfile(found / file.name, file)
    if pushed and pushed.again:
        # The report in the cache has the number of the first push.
        rebuild_report(workdir.root)
    else:
        shutil.copytree(outputs.folder("ReportGen", "report"), workdir.report, dirs_exist_ok=True)
    summary.report = str(workdir.report / "index.html")


def _left_by(file: Path, began: datetime.datetime) -> Iterator[dict[str, Any]]:
    """The lines of a file of findings, where this run got as far as that."""
    if file.exists() and file.stat().st_mtime >= began.timestamp():
        with file.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _tell_why_it_stopped(summary: Summary, workdir: Workdir, began: datetime.datetime) -> None:
    """Fill in what the ingestion had found when it stopped the run."""
    from components.run_facts.leaks import name_leaks

    reasons = collections.Counter(one["reason"] for one in _left_by(workdir.quarantine, began))
    groups = list(_left_by(workdir.duplicates, began))
    leaks: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for leak in _left_by(workdir.leaks, began):
        leaks[leak["bound_by"]]["+".join(leak["splits"])] += 1
    summary.counts = {
        "examples": {},
        "quarantined": dict(sorted(reasons.items())),
        "duplicates": {
            "groups": sum(not one["conflict"] for one in groups),
            "conflicts": sum(one["conflict"] for one in groups),
        },
    }
    summary.leaks += name_leaks(leaks["patient"], leaks["duplicates"])


def _log_traceback() -> None:
    """Write the current exception to the log, where there is space left."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def _leave(summary: Summary, workdir: Workdir) -> None:
    """Write `summary.json`; a run that cannot has failed, and says why."""
    try:
        summary.write(workdir.summary)
    except OSError as error:
        line = describe_full_disk(error, [workdir.root])
        if line is None:
            raise
        summary.verdict, summary.error = Verdict.FAILED, summary.error or line


def run(request: RunRequest, display: RunDisplay, *, debug: bool = False) -> Summary:
    """Run the pipeline and leave `summary.json`.

    Args:
      request: what to run.
      display: told how it goes.
      debug: let exceptions through.

    Returns:
      The summary; its exit code is the command's.

    Raises:
      ConfigError: the folder, the weights or the devices cannot be used, or somebody else is at
        work in the folder.
    """
    workdir = open_workdir(request.workdir)
    with alone_in(workdir):
        return run_alone(request, workdir, display, debug=debug)


def run_alone(
    request: RunRequest, workdir: Workdir, display: RunDisplay, *, debug: bool = False
) -> Summary:
    """The same in a folder that is locked already.

    Raises:
      ConfigError: the weights or the devices cannot be used.
    """
    began = datetime.datetime.now()
    log = workdir.logs / f"run-{began:%Y%m%d-%H%M%S}.log"
    summary = Summary(request.config.name, Verdict.FAILED, log=str(log))
    steps: list[StepTime] = []
    with output_to(log) as (out, err):
        display.open(out, err)
        display.starting()
        try:
            if restored := ensure_metadata(workdir):
                display.note(str(restored))
                display.starting()
            executions = _execute(request, workdir, display, steps, summary)
            _conclude(workdir, executions, summary)
        except ConfigError as error:
            _log_traceback()
            summary.error = str(error)
            raise
        except BadDataError as error:
            _log_traceback()
            if debug:
                raise
            summary.verdict, summary.error = Verdict.BAD_DATA, str(error)
            _tell_why_it_stopped(summary, workdir, began)
        except (KeyboardInterrupt, Terminated):
            summary.error = "ended from outside; the same command goes on from the finished steps"
            raise
        except Exception as error:
            _log_traceback()
            if debug:
                raise
            full = describe_full_disk(error, [workdir.root])
            summary.error = full or f"{error}; the traceback is in {log}"
        finally:
            display.close()
            summary.steps = [dataclasses.asdict(step) for step in steps]
            _leave(summary, workdir)
    return summary
