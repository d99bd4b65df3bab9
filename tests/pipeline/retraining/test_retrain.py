"""When `ctnet retrain` runs."""

import contextlib
import dataclasses
import json
import sqlite3

import pytest
from ml_metadata import errors

from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.spans import resolve_manifests
from pipeline.config import parse_config
from pipeline.retraining import prune as prune_module
from pipeline.retraining import retrain as retrain_module
from pipeline.retraining.prune import Policy, Pruned
from pipeline.retraining.retrain import retrain
from pipeline.run import RunRequest
from pipeline.summary import Summary, Verdict, read_summary
from pipeline.terminal import RunDisplay
from transform.errors import ConfigError

ROWS = "path,label,patient_id\na.png,1,p\n"
REFUSED = {"accepted": False, "says": "too good", "reasons": ["Copies."]}


@dataclasses.dataclass
class Runs:
    """What was asked for, and how it ends.

    Attributes:
      requests: that were run.
      ends: how each does; an exception is raised.
      pruned: what each pruning comes to; an exception is raised.
      prunings: how many there were.
      policies: of those that came to their end.
    """

    requests: list
    ends: Summary | BaseException
    pruned: BaseException | None = None
    prunings: int = 0
    policies: list = dataclasses.field(default_factory=list)


@pytest.fixture
def runs(monkeypatch):
    """The requests that were run."""
    runs = Runs([], Summary("ctnet", Verdict.PUSHED))

    def run(request, workdir, display, *, debug):
        runs.requests.append(request)
        if isinstance(runs.ends, BaseException):
            raise runs.ends
        summary = dataclasses.replace(runs.ends, log="of this run")
        summary.write(workdir.summary)
        return summary

    def prune_alone(workdir, policy):
        runs.prunings += 1
        if runs.pruned is not None:
            raise runs.pruned
        runs.policies.append(policy)
        return Pruned(dry_run=False)

    monkeypatch.setattr(retrain_module, "run_alone", run)
    monkeypatch.setattr(prune_module, "prune_alone", prune_alone)
    return runs


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text(ROWS)
    (tmp_path / "work").mkdir()
    return path


def fingerprint_of(manifest):
    return survey_manifests(resolve_manifests(manifest, "newest")).fingerprint


def test_what_the_leak_alarm_refused_runs_again_where_it_is_accepted(manifest, runs):
    refused = Summary("ctnet", Verdict.NOT_BLESSED, leak_alarm=REFUSED)
    runs.ends = dataclasses.replace(refused, fingerprint=fingerprint_of(manifest))
    again(manifest)
    # A run on other data comes in between, after which the summary does not tell of the alarm.
    Summary("ctnet", Verdict.PUSHED, fingerprint="of other data").write(summary_of(manifest))
    for _ in range(2):
        assert again(manifest).verdict is Verdict.NOTHING_NEW
    assert read_summary(summary_of(manifest)).leak_alarm is None
    runs.ends = Summary("ctnet", Verdict.PUSHED)
    assert again(manifest, accept_leak_alarm=True).verdict is Verdict.PUSHED
    assert [request.accept_leak_alarm for request in runs.requests] == [False, True]
    assert again(manifest, accept_leak_alarm=True).verdict is Verdict.NOTHING_NEW


@pytest.mark.parametrize("leak_alarm", [None, {**REFUSED, "accepted": True}])
def test_what_it_did_not_refuse_is_nothing_new_though_it_is_accepted(manifest, runs, leak_alarm):
    ended = Summary("ctnet", Verdict.NOT_BLESSED, leak_alarm=leak_alarm)
    runs.ends = dataclasses.replace(ended, fingerprint=fingerprint_of(manifest))
    again(manifest)
    assert again(manifest, accept_leak_alarm=True).verdict is Verdict.NOTHING_NEW
    assert read_summary(summary_of(manifest)).leak_alarm == leak_alarm


def test_what_a_run_pushed_before_the_first_retraining_is_nothing_new_for_good(manifest, runs):
    pushed = Summary("ctnet", Verdict.PUSHED, fingerprint=fingerprint_of(manifest))
    pushed.write(summary_of(manifest))
    assert again(manifest).verdict is Verdict.NOTHING_NEW
    Summary("ctnet", Verdict.PUSHED, fingerprint="of other data").write(summary_of(manifest))
    assert again(manifest).verdict is Verdict.NOTHING_NEW
    assert runs.requests == []


@pytest.mark.parametrize("verdict", [Verdict.NOT_BLESSED, Verdict.NOTHING_NEW, Verdict.FAILED])
def test_a_run_that_pushed_nothing_hides_no_data(manifest, runs, verdict):
    tried = Summary("ctnet", verdict, fingerprint=fingerprint_of(manifest))
    tried.write(summary_of(manifest))
    assert again(manifest).verdict is Verdict.PUSHED


def test_a_run_in_between_hides_no_data_from_the_retrainings(manifest, runs):
    again(manifest)
    manifest.write_text(ROWS + "b.png,0,q\n")
    tried = Summary("ctnet", Verdict.PUSHED, fingerprint=fingerprint_of(manifest))
    tried.write(summary_of(manifest))
    assert again(manifest).verdict is Verdict.PUSHED
    assert len(runs.requests) == 2


def test_after_a_rollback_nothing_new_says_what_is_served_now(manifest, runs):
    serving = manifest.parent / "work" / "serving" / "ctnet"
    for version in ("11", "12"):
        (serving / version).mkdir(parents=True)
        (serving / version / "saved_model.pb").touch()
    runs.ends = Summary(
        "ctnet",
        Verdict.PUSHED,
        fingerprint=fingerprint_of(manifest),
        metrics={"auc": 0.9},
        version="12",
        model=str(serving / "12"),
    )
    again(manifest)
    assert again(manifest).metrics == {"auc": 0.9}
    (serving / "13").mkdir()
    (serving / "13" / "saved_model.pb").touch()
    nothing = again(manifest)
    assert (nothing.version, nothing.model) == ("13", str(serving / "13"))
    assert (nothing.metrics, nothing.serving) == ({}, str(serving))


def summary_of(manifest):
    return manifest.parent / "work" / "summary.json"


def again(manifest, *, accept_drift=False, accept_leak_alarm=False, tell=print, **settings):
    """Retrain in the manifest's folder."""
    workdir = manifest.parent / "work"
    request = RunRequest(parse_config(settings), manifest, workdir, accept_leak_alarm)
    return retrain(request, RunDisplay(), accept_drift=accept_drift, tell=tell)


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


def test_drift_that_was_accepted_stays_so_where_the_run_fails_or_is_killed(manifest, runs):
    for end in (Summary("ctnet", Verdict.FAILED), KeyboardInterrupt()):
        runs.ends = end
        with contextlib.suppress(KeyboardInterrupt):
            again(manifest, accept_drift=not runs.requests)
    runs.ends = Summary("ctnet", Verdict.NOT_BLESSED, leak_alarm=REFUSED)
    again(manifest)
    # Nor is it asked for again where the same data is tried once more.
    again(manifest, accept_leak_alarm=True)
    assert [request.refuse_drift for request in runs.requests] == [False] * 4
    manifest.write_text(ROWS + "b.png,0,q\n")
    again(manifest)
    assert runs.requests[-1].refuse_drift


@pytest.mark.parametrize(
    "error",
    [
        OSError("read-only"),
        sqlite3.OperationalError("locked"),
        errors.InternalError("malformed"),
        RuntimeError("cannot be opened"),
        ConfigError("no run has begun here"),
    ],
)
def test_a_model_that_was_pushed_stays_so_where_pruning_fails_which_is_made_up_for(
    manifest, runs, error
):
    runs.pruned = error
    summary = again(manifest)
    assert (summary.verdict, summary.pruned) == (Verdict.PUSHED, {"error": str(error)})
    told = []
    summary = again(manifest, tell=told.append)
    assert (summary.verdict, summary.pruned) == (Verdict.NOTHING_NEW, {"error": str(error)})
    assert told == [f"pruning stopped again: {error}"]
    runs.pruned = None
    told.clear()
    assert "error" not in again(manifest, tell=told.append).pruned
    assert told == ["pruned, which was not done after the last retraining"]
    assert again(manifest).pruned is None
    assert runs.prunings == 3


def test_pruning_keeps_what_the_configuration_says(manifest, runs):
    again(manifest, retrain={"keep_versions": 2, "keep_runs": 3, "keep": [11, 12]})
    assert runs.policies == [Policy(2, 3, frozenset({11, 12}))]
    with pytest.raises(ConfigError, match="keep"):
        parse_config({"retrain": {"keep": ["newest"]}})


def test_a_pruning_that_was_killed_is_made_up_for_also_where_the_data_is_bad(manifest, runs):
    runs.pruned = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        again(manifest)
    runs.pruned = None
    manifest.write_text(ROWS + "b.png,0,q\n")
    runs.ends = Summary("ctnet", Verdict.BAD_DATA, error="drift")
    for _ in range(2):
        assert again(manifest).verdict is Verdict.BAD_DATA
    assert runs.prunings == 2


def test_a_verdict_that_cannot_be_noted_stays(manifest, runs, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(retrain_module, "remember_retraining", fail)
    told = []
    assert again(manifest, tell=told.append).verdict is Verdict.PUSHED
    assert "retrainings.json: cannot be written (No space left on device)" in told[0]
