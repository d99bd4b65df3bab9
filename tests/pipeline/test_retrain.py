"""When `ctnet retrain` runs."""

import dataclasses
import json

import pytest

from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.spans import resolve_manifests
from pipeline import retrain as retrain_module
from pipeline.config import parse_config
from pipeline.retrain import retrain
from pipeline.run import RunRequest
from pipeline.summary import Summary, Verdict, read_summary
from pipeline.terminal import RunDisplay

ROWS = "path,label,patient_id\na.png,1,p\n"
REFUSED = {"accepted": False, "says": "too good", "reasons": ["Copies."]}


@dataclasses.dataclass
class Runs:
    """What was asked for, and how it ends."""

    requests: list
    ends: Summary


@pytest.fixture
def runs(monkeypatch):
    """The requests that were run."""
    requests = []

    def run(request, workdir, display, *, debug):
        requests.append(request)
        return dataclasses.replace(ends, log="of this run")

    ends = Summary("ctnet", Verdict.PUSHED)
    monkeypatch.setattr(retrain_module, "run_alone", run)
    monkeypatch.setattr(retrain_module, "_prune", lambda *arguments: None)
    return Runs(requests, ends)


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text(ROWS)
    (tmp_path / "work").mkdir()
    return path


def ask(manifest, leak_alarm, *, accept):
    """Retrain after a run on the same data that was refused, or not."""
    workdir = manifest.parent / "work"
    last = Summary("ctnet", Verdict.NOT_BLESSED, leak_alarm=leak_alarm)
    last.fingerprint = survey_manifests(resolve_manifests(manifest, "newest")).fingerprint
    last.write(workdir / "summary.json")
    request = RunRequest(parse_config({}), manifest, workdir, accept_leak_alarm=accept)
    return retrain(request, RunDisplay()).verdict


def test_what_the_leak_alarm_refused_runs_again_where_it_is_accepted(manifest, runs):
    assert ask(manifest, REFUSED, accept=True) is Verdict.PUSHED
    assert [request.accept_leak_alarm for request in runs.requests] == [True]


@pytest.mark.parametrize(
    ("leak_alarm", "accept"),
    [(REFUSED, False), (None, True), ({**REFUSED, "accepted": True}, True)],
)
def test_otherwise_the_same_data_is_nothing_new(manifest, runs, leak_alarm, accept):
    assert ask(manifest, leak_alarm, accept=accept) is Verdict.NOTHING_NEW
    assert not runs.requests
    assert read_summary(manifest.parent / "work" / "summary.json").leak_alarm == leak_alarm


def again(manifest, *, accept_drift=False, **settings):
    """Retrain in the manifest's folder."""
    request = RunRequest(parse_config(settings), manifest, manifest.parent / "work")
    return retrain(request, RunDisplay(), accept_drift=accept_drift)


def test_what_was_tried_is_known_after_a_run_on_other_data_and_after_a_failure(manifest, runs):
    runs.ends.verdict = Verdict.NOT_BLESSED
    assert again(manifest).verdict is Verdict.NOT_BLESSED
    for other in (
        Summary("ctnet", Verdict.PUSHED, fingerprint="of other data"),
        Summary("ctnet", Verdict.FAILED, error="the disk is full"),
    ):
        other.write(manifest.parent / "work" / "summary.json")
        nothing = again(manifest)
        assert (nothing.verdict, nothing.error) == (Verdict.NOTHING_NEW, None)
    assert len(runs.requests) == 1
    manifest.write_text(ROWS + "b.png,0,q\n")
    assert again(manifest).verdict is Verdict.NOT_BLESSED
    assert len(runs.requests) == 2


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.BAD_DATA])
def test_data_that_no_verdict_was_reached_on_is_tried_again(manifest, runs, verdict):
    runs.ends.verdict = verdict
    for _ in range(2):
        assert again(manifest).verdict is verdict
    assert len(runs.requests) == 2
    assert not (manifest.parent / "work" / "retrainings.json").exists()


def test_configurations_of_two_names_in_one_folder_do_not_hide_each_other_s_data(manifest, runs):
    again(manifest, name="one")
    again(manifest, name="two")
    assert [again(manifest, name=name).verdict for name in ("one", "two")] == ["nothing_new"] * 2
    assert len(runs.requests) == 2


def test_a_damaged_memory_costs_a_run_and_nothing_else(manifest, runs):
    memory = manifest.parent / "work" / "retrainings.json"
    again(manifest)
    memory.write_text('{"ctnet": [')
    again(manifest)
    assert len(runs.requests) == 2
    assert json.loads(memory.read_text())["ctnet"]["verdict"] == "pushed"


def test_drift_stops_a_retraining_unless_it_is_accepted_or_only_warned_of(manifest, runs):
    runs.ends.verdict = Verdict.FAILED
    again(manifest)
    again(manifest, accept_drift=True)
    again(manifest, retrain={"on_drift": "warn"})
    assert [request.refuse_drift for request in runs.requests] == [True, False, False]
