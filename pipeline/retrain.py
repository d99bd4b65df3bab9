"""A run for schedulers: new data is trained on, gated and pushed; without any, nothing is done."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable

from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.spans import newest_span, resolve_manifests
from pipeline.folder_lock import alone_in
from pipeline.retrain_memory import Retraining, last_retraining, now, remember_retraining
from pipeline.run import RunRequest, run_alone
from pipeline.summary import Summary, Verdict, read_summary
from pipeline.terminal import RunDisplay
from pipeline.workdir import Workdir, open_workdir

WORK = "ctnet retrain"
_TRIED = (Verdict.PUSHED, Verdict.NOT_BLESSED, Verdict.NOTHING_NEW)


def _alarm_refused(summary: Summary) -> bool:
    return summary.leak_alarm is not None and not summary.leak_alarm["accepted"]


def _tried(workdir: Workdir, name: str, last: Summary | None) -> list[Retraining]:
    """What was tried: by the last retraining, whatever ran since; and by the last run."""
    before = last_retraining(workdir.retrainings, name)
    tried = [before] if before is not None else []
    if (
        last is not None
        and last.name == name
        and last.verdict in _TRIED
        and last.fingerprint is not None
    ):
        refused = _alarm_refused(last)
        tried.append(Retraining(last.fingerprint, None, str(last.verdict), "", refused))
    return tried


def _nothing_new(summary: Summary | None, request: RunRequest, fingerprint: str) -> Summary:
    if summary is None or summary.verdict not in _TRIED or summary.fingerprint != fingerprint:
        # Of a run that failed, or of other data.
        return Summary(request.config.name, Verdict.NOTHING_NEW, fingerprint=fingerprint)
    # What is served and how good it is has not changed, so that it stays in the summary.
    return dataclasses.replace(
        summary, verdict=Verdict.NOTHING_NEW, error=None, steps=[], pruned=None
    )


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

    The data is new unless the last retraining of this name, or the last run in the folder, came to
    a verdict on the same manifests and files. One that failed, was killed or met bad data is tried
    again; so is one that the leak alarm refused, where the alarm is accepted now.

    Args:
      request: as for `ctnet run`; the configuration's `retrain` decides what drift does.
      display: told how it goes.
      accept_drift: go on although the data has drifted; a person looked.
      wait: seconds, for whoever else is at work in the folder.
      tell: called with a line where it waits.
      debug: let exceptions through.

    Returns:
      The summary, with the verdict `nothing_new` where there was nothing to do.

    Raises:
      ConfigError: as `run`.
      BadDataError: there is no data.
    """
    workdir = open_workdir(request.workdir)
    config = request.config
    with alone_in(workdir, work=WORK, wait=wait, tell=tell):
        manifests = resolve_manifests(
            request.data.resolve(), config.ingest.span, config.split.reference
        )
        fingerprint = survey_manifests(manifests).fingerprint
        last = read_summary(workdir.summary)
        for tried in _tried(workdir, config.name, last):
            accepted_now = request.accept_leak_alarm and tried.alarm_refused
            if tried.fingerprint == fingerprint and not accepted_now:
                summary = _nothing_new(last, request, fingerprint)
                summary.write(workdir.summary)
                return summary
        refuse_drift = config.retrain.on_drift == "stop" and not accept_drift
        summary = run_alone(
            dataclasses.replace(request, refuse_drift=refuse_drift), workdir, display, debug=debug
        )
        if summary.verdict not in (Verdict.PUSHED, Verdict.NOT_BLESSED):
            return summary
        remember_retraining(
            workdir.retrainings,
            config.name,
            Retraining(
                # What was read, should a file have changed since the decision.
                summary.fingerprint or fingerprint,
                newest_span(manifests),
                str(summary.verdict),
                now(),
                _alarm_refused(summary),
            ),
        )
        _prune(workdir, request, summary)
        return summary


def _prune(workdir: Workdir, request: RunRequest, summary: Summary) -> None:
    """Prune, and say so in the summary; a model that is pushed stays so where that fails."""
    from pipeline.prune import Policy, prune_alone

    policy = Policy(request.config.retrain.keep_versions, request.config.retrain.keep_runs)
    try:
        pruned = prune_alone(workdir, policy)
        summary.pruned = pruned.counts()
    except (OSError, sqlite3.Error) as error:
        summary.pruned = {"error": " ".join(f"{error}".split())}
    summary.write(workdir.summary)
