"""A run for schedulers: new data is trained on, gated and pushed; without any, nothing is done."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable

from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.spans import newest_span, resolve_manifests
from pipeline.history.versions import VersionsThere
from pipeline.retraining.memory import (
    Retraining,
    accept_drift_of,
    accepts_drift_of,
    last_retraining,
    now,
    remember_retraining,
)
from pipeline.run import RunRequest, run_alone
from pipeline.run_folder.folder_lock import alone_in
from pipeline.run_folder.run_log import hushed
from pipeline.run_folder.workdir import Workdir, open_workdir
from pipeline.summary import Summary, Verdict, read_summary
from pipeline.terminal import RunDisplay
from transform.errors import CtnetError

WORK = "ctnet retrain"
_TRIED = (Verdict.PUSHED, Verdict.NOT_BLESSED, Verdict.NOTHING_NEW)


def _alarm_refused(summary: Summary) -> bool:
    return summary.leak_alarm is not None and not summary.leak_alarm["accepted"]


def _before(workdir: Workdir, name: str, last: Summary | None) -> Retraining | None:
    """What was tried last by a retraining; or pushed by the last run, where there was none yet."""
    before = last_retraining(workdir.retrainings, name)
    if before is not None or last is None:
        return before
    if last.name != name or last.verdict is not Verdict.PUSHED or last.fingerprint is None:
        return None
    return Retraining(last.fingerprint, None, str(last.verdict), now(), _alarm_refused(last))


def _nothing_new(
    summary: Summary | None, request: RunRequest, workdir: Workdir, fingerprint: str
) -> Summary:
    newest = VersionsThere(workdir.serving).newest
    if (
        summary is not None
        and summary.verdict in _TRIED
        and summary.fingerprint == fingerprint
        and summary.version in (None, newest)
    ):
        # What is served and how good it is has not changed, so that it stays in the summary.
        return dataclasses.replace(
            summary, verdict=Verdict.NOTHING_NEW, error=None, steps=[], pruned=None
        )
    # The last run failed, or was on other data, or its model is served no more.
    fresh = Summary(request.config.name, Verdict.NOTHING_NEW, fingerprint=fingerprint)
    if newest is not None:
        fresh.version, fresh.model = newest, str(workdir.serving / newest)
        fresh.serving = str(workdir.serving)
    return fresh


def retrain(
    request: RunRequest,
    display: RunDisplay,
    *,
    accept_drift: bool = False,
    wait: float = 0.0,
    tell: Callable[[str], None] = lambda line: None,
    debug: bool = False,
) -> Summary:
    """Run where the data is new, and remove what is older than the policy asks to keep.

    The data is new unless the last retraining of this name came to a verdict on the same manifests
    and files; before the first one, unless the last run in the folder pushed a model of them. One
    that failed, was killed or met bad data is tried again; so is one that the leak alarm refused,
    where the alarm is accepted now. A pruning that did not come to its end is made up for.

    Args:
      request: as for `ctnet run`; the configuration's `retrain` decides what drift does.
      display: told how it goes.
      accept_drift: go on although the data has drifted; a person looked. It is remembered of this
        data, should the run fail.
      wait: seconds, for whoever else is at work in the folder.
      tell: called with a line where it waits, prunes afterwards, or cannot note what it did.
      debug: let exceptions through.

    Returns:
      The summary, with the verdict `nothing_new` where there was nothing to do.

    Raises:
      ConfigError: as `run`.
      BadDataError: there is no data.
      OSError: that drift is accepted cannot be noted.
    """
    workdir = open_workdir(request.workdir)
    config = request.config
    with alone_in(workdir, work=WORK, wait=wait, tell=tell):
        manifests = resolve_manifests(
            request.data.resolve(), config.ingest.span, config.split.reference
        )
        fingerprint = survey_manifests(manifests).fingerprint
        last = read_summary(workdir.summary)
        before = _before(workdir, config.name, last)
        if (
            before is not None
            and before.fingerprint == fingerprint
            and not (request.accept_leak_alarm and before.alarm_refused)
        ):
            summary = _nothing_new(last, request, workdir, fingerprint)
            if before.pruned:
                summary.write(workdir.summary)
            else:
                _prune(workdir, request, summary, before, tell)
                tell(_say_pruned_late(summary))
            return summary
        if accept_drift:
            accept_drift_of(workdir.retrainings, config.name, fingerprint)
        accepted = accepts_drift_of(workdir.retrainings, config.name, fingerprint)
        refuse_drift = config.retrain.on_drift == "stop" and not accepted
        summary = run_alone(
            dataclasses.replace(request, refuse_drift=refuse_drift), workdir, display, debug=debug
        )
        if summary.verdict in (Verdict.PUSHED, Verdict.NOT_BLESSED):
            tried = Retraining(
                # What was read, should a file have changed since the decision.
                summary.fingerprint or fingerprint,
                newest_span(manifests),
                str(summary.verdict),
                now(),
                _alarm_refused(summary),
            )
            # Before it prunes, which may be killed.
            _remember(workdir, config.name, tried, tell)
            _prune(workdir, request, summary, tried, tell)
        elif before is not None and not before.pruned:
            _prune(workdir, request, summary, before, tell)
        return summary


def _remember(workdir: Workdir, name: str, tried: Retraining, tell: Callable[[str], None]) -> None:
    """Note what was tried; the verdict stays where that fails."""
    try:
        remember_retraining(workdir.retrainings, name, tried)
    except OSError as error:
        tell(
            f"{workdir.retrainings}: cannot be written ({error.strerror or error}); the next call "
            "takes the same data for new, and its results from the cache"
        )


def _say_pruned_late(summary: Summary) -> str:
    if summary.pruned and "error" in summary.pruned:
        return f"pruning stopped again: {summary.pruned['error']}"
    return "pruned, which was not done after the last retraining"


def _prune(
    workdir: Workdir,
    request: RunRequest,
    summary: Summary,
    tried: Retraining,
    tell: Callable[[str], None],
) -> None:
    """Prune, and say so in the summary; a model that is pushed stays so where that fails."""
    from ml_metadata import errors

    from pipeline.retraining.prune import Policy, prune_alone

    settings = request.config.retrain
    policy = Policy(settings.keep_versions, settings.keep_runs, frozenset(settings.keep))
    try:
        # After a run in this process ML Metadata logs each connection.
        with hushed():
            summary.pruned = prune_alone(workdir, policy).counts()
    # A store that cannot be opened is a RuntimeError.
    except (OSError, sqlite3.Error, errors.StatusError, RuntimeError, CtnetError) as error:
        summary.pruned = {"error": " ".join(f"{error}".split())}
    else:
        _remember(workdir, request.config.name, dataclasses.replace(tried, pruned=True), tell)
    try:
        summary.write(workdir.summary)
    except OSError as error:
        tell(f"{workdir.summary}: cannot be written ({error.strerror or error})")
