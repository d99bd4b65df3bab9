"""A run for schedulers: it does nothing where the data has not changed since the last one."""

from __future__ import annotations

import dataclasses

from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.spans import resolve_manifests
from pipeline.run import RunRequest, run
from pipeline.summary import Summary, Verdict, read_summary
from pipeline.terminal import RunDisplay
from pipeline.workdir import open_workdir

_TRIED = (Verdict.PUSHED, Verdict.NOT_BLESSED, Verdict.NOTHING_NEW)


def _accepts_now(request: RunRequest, last: Summary) -> bool:
    """Whether what the last run was refused for has been accepted since."""
    refused = last.leak_alarm is not None and not last.leak_alarm["accepted"]
    return request.accept_leak_alarm and refused


def retrain(request: RunRequest, display: RunDisplay, *, debug: bool = False) -> Summary:
    """Run unless the last run in the folder came to its end on the same manifest and files.

    A run that the leak alarm refused is run again where the alarm is accepted now.

    Args:
      request: as for `ctnet run`.
      display: told how it goes.
      debug: let exceptions through.

    Returns:
      The summary, with the verdict `nothing_new` where there was nothing to do.
    """
    workdir = open_workdir(request.workdir)
    last = read_summary(workdir.summary)
    manifests = resolve_manifests(request.data.resolve(), request.config.ingest.span)
    fingerprint = survey_manifests(manifests).fingerprint
    if (
        last is not None
        and last.verdict in _TRIED
        and last.fingerprint == fingerprint
        and not _accepts_now(request, last)
    ):
        # What is served and how good it is has not changed, so that it stays in the summary.
        summary = dataclasses.replace(last, verdict=Verdict.NOTHING_NEW, error=None, steps=[])
        summary.write(workdir.summary)
        return summary
    return run(request, display, debug=debug)
