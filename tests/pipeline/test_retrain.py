"""When `ctnet retrain` runs."""

import pytest

from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.spans import resolve_manifests
from pipeline import retrain as retrain_module
from pipeline.config import parse_config
from pipeline.retrain import retrain
from pipeline.run import RunRequest
from pipeline.summary import Summary, Verdict, read_summary
from pipeline.terminal import RunDisplay

REFUSED = {"accepted": False, "says": "too good", "reasons": ["Copies."]}


@pytest.fixture
def runs(monkeypatch):
    """The requests that were run."""
    requests = []

    def run(request, display, *, debug):
        requests.append(request)
        return Summary("tiny", Verdict.PUSHED)

    monkeypatch.setattr(retrain_module, "run", run)
    return requests


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("path,label,patient_id\na.png,1,p\n")
    return path


def ask(manifest, leak_alarm, *, accept):
    """Retrain after a run on the same data that was refused, or not."""
    workdir = manifest.parent / "work"
    workdir.mkdir()
    last = Summary("tiny", Verdict.NOT_BLESSED, leak_alarm=leak_alarm)
    last.fingerprint = survey_manifests(resolve_manifests(manifest, "newest")).fingerprint
    last.write(workdir / "summary.json")
    request = RunRequest(parse_config({}), manifest, workdir, accept_leak_alarm=accept)
    return retrain(request, RunDisplay()).verdict


def test_what_the_leak_alarm_refused_runs_again_where_it_is_accepted(manifest, runs):
    assert ask(manifest, REFUSED, accept=True) is Verdict.PUSHED
    assert [request.accept_leak_alarm for request in runs] == [True]


@pytest.mark.parametrize(
    ("leak_alarm", "accept"),
    [(REFUSED, False), (None, True), ({**REFUSED, "accepted": True}, True)],
)
def test_otherwise_the_same_data_is_nothing_new(manifest, runs, leak_alarm, accept):
    assert ask(manifest, leak_alarm, accept=accept) is Verdict.NOTHING_NEW
    assert not runs
    assert read_summary(manifest.parent / "work" / "summary.json").leak_alarm == leak_alarm
