"""What a scheduler relies on of `ctnet retrain`, and what a person does when it went wrong.

One folder, from its first model on: nothing new, killed, concurrent, better, rolled back, drifted,
worse, pruned. Each step is a fixture that goes on where the one before it ended.
"""

import csv
import json
import os
import signal
import subprocess
import sys

import pydicom
import pytest

from transform.phantom import write_cohort

pytestmark = [pytest.mark.e2e, pytest.mark.long]

CONFIG = """
name: tiny
transform: {{image_size: 32}}
model: {{backbone: tiny, weights: last_blessed, batch_norm_momentum: 0.8, dropout: 0.0}}
train: {{epochs: 10, head_epochs: 0, early_stopping: 0, learning_rate: 1.0e-2, batch_size: 8}}
gate: {{min_sensitivity: 0.0, min_specificity: 0.0, max_regression: 0.05, leak_alarm: null}}
split: {{reference: {reference}, train: 0.75, eval: 0.24, test: 0.01}}
probes: {{slices: 0}}
evaluate: {{resamples: 50}}
retrain: {{keep_versions: 2, keep_runs: 1}}
"""


def draw(folder, seed, patients):
    return write_cohort(folder, patients=patients, slices=1, seed=seed, severity="severe", size=48)


def spoil(manifest):
    """Swap the labels, and have the scanner be off by 300 HU."""
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        path = manifest.parent / row["path"]
        dataset = pydicom.dcmread(path)
        dataset.RescaleIntercept = float(dataset.RescaleIntercept) + 300.0
        dataset.save_as(path)
        row["label"] = str(1 - int(row["label"]))
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


class Folder:
    """The data, the configuration and the folder of the retrainings."""

    def __init__(self, root, ctnet):
        self.spans = root / "spans"
        self.workdir = root / "work"
        reference = draw(root / "reference", 100, 24)
        self.config = root / "config.yaml"
        self.config.write_text(CONFIG.format(reference=reference))
        self._ctnet = ctnet
        self._arguments = ("--config", self.config, "--data", self.spans, "--workdir", self.workdir)

    def command(self, name, *arguments):
        return [
            *(sys.executable, "-m", "pipeline.cli", name),
            *map(str, (*self._arguments, *arguments)),
        ]

    def retrain(self, *arguments):
        return self._ctnet("retrain", *self._arguments, *arguments)

    def run(self, *arguments):
        return self._ctnet("run", *self._arguments, *arguments)

    def ask(self, command, *arguments):
        return self._ctnet(command, self.workdir, *arguments)

    @property
    def summary(self):
        return json.loads((self.workdir / "summary.json").read_text())

    @property
    def history(self):
        return json.loads(self.ask("history", "--json").out)

    @property
    def versions(self):
        names = [one.name for one in (self.workdir / "serving" / "ctnet").iterdir()]
        return sorted(filter(str.isdecimal, names), key=int)

    def export(self, version):
        """By what one export is told from another."""
        return (self.workdir / "serving/ctnet" / version / "fingerprint.pb").read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ctnet):
    return Folder(tmp_path_factory.mktemp("retraining"), ctnet)


@pytest.fixture(scope="module")
def first(folder):
    """The first span, and its model."""
    draw(folder.spans / "span-1", 1, 40)
    done = folder.retrain()
    assert done.code == 0, done.err
    return folder.summary


@pytest.fixture(scope="module")
def second(folder, first):
    """The second span: killed while it trains with another one at the door, and done again."""
    draw(folder.spans / "span-2", 2, 40)
    with subprocess.Popen(folder.command("retrain"), stderr=subprocess.PIPE, text=True) as killed:
        for line in killed.stderr:
            if "Transform" in line:
                break
        # It keeps the lock as it stands there.
        killed.send_signal(signal.SIGSTOP)
        turned_away = folder.retrain()
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    left = folder.versions
    again = folder.retrain()
    assert again.code == 0, again.err
    return killed.pid, turned_away, left, folder.summary


@pytest.fixture(scope="module")
def rolled_back(folder, second):
    """Back to the first model; and the run that the second is of, repeated."""
    done = folder.ask("rollback", "--json")
    assert done.code == 0, done.err
    repeated = folder.run()
    return json.loads(done.out), repeated, folder.summary


@pytest.fixture(scope="module")
def drifted(folder, rolled_back):
    """A third span from a scanner that is off, and with wrong labels."""
    spoil(draw(folder.spans / "span-3", 3, 40))
    return folder.retrain()


@pytest.fixture(scope="module")
def worse(folder, drifted):
    """The same, which a person let pass."""
    done = folder.retrain("--accept-drift")
    return done, folder.summary


def test_the_first_span_gives_the_first_version(folder, first):
    assert first["verdict"] == "pushed"
    assert first["started_from"] == "none"
    assert (folder.workdir / "report/index.html").exists()


def test_nothing_new_is_said_and_nothing_is_done(folder, first):
    before = sorted(folder.workdir.rglob("*"))
    done = folder.retrain()
    assert done.code == 0, done.err
    assert "Nothing new" in done.out
    assert folder.summary["verdict"] == "nothing_new"
    assert folder.summary["version"] == first["version"]
    assert sorted(folder.workdir.rglob("*")) == before


def test_a_second_one_at_once_leaves_and_names_the_first(second):
    pid, turned_away, _, _ = second
    assert turned_away.code == 2
    (line,) = turned_away.err.splitlines()
    assert f"ctnet retrain (process {pid} on {os.uname().nodename}, since 20" in line


def test_a_retraining_that_was_killed_goes_on_and_is_pushed(first, second):
    _, _, left, summary = second
    assert left == [first["version"]]
    assert summary["verdict"] == "pushed"
    steps = {step["name"]: step["cached"] for step in summary["steps"]}
    assert steps["Transform"]
    assert not steps["Trainer"]
    # Warm, and gated against what was served.
    assert "/Trainer/model/" in summary["started_from"]
    assert "auc_change" in {bound["metric"] for bound in summary["bounds"]}


def test_a_rollback_serves_the_first_model_and_a_repeated_run_does_not_undo_it(
    folder, first, second, rolled_back
):
    result, repeated, summary = rolled_back
    assert result["served"]["first"] == first["version"]
    assert result["was"]["version"] == second[3]["version"]
    assert (repeated.code, summary["verdict"]) == (3, "not_blessed")
    assert "rolled back from" in repeated.out
    # A run does not refuse drift, and the push knows of the rollback.
    assert {step["name"] for step in summary["steps"] if not step["cached"]} == {
        "SliceValidator",
        "AtomicPusher",
        "ReportGen",
    }


def test_drift_stops_the_retraining_and_is_named_every_time(drifted):
    assert drifted.code == 4
    (line,) = [line for line in drifted.err.splitlines() if line.startswith("ctnet: ")]
    assert "has drifted" in line
    assert "stats/mean_hu" in line
    assert "--accept-drift" in line
    assert "Traceback" not in drifted.err


def test_a_worse_model_is_kept_out_by_what_is_served_since_the_rollback(folder, worse):
    done, summary = worse
    assert done.code == 3, done.err
    assert summary["verdict"] == "not_blessed"
    failed = {bound["metric"] for bound in summary["bounds"] if not bound["passed"]}
    assert failed == {"auc_change"}
    last = folder.history[-1]
    assert last["parent"]["number"] == last["compared_with"]["number"] == 1
    again = folder.retrain()
    assert "Nothing new" in again.out


def test_pruning_leaves_what_is_served_and_the_history_of_the_rest(folder, rolled_back, worse):
    result, _, _ = rolled_back
    assert worse[1]["pruned"]["artifacts"] > 0
    assert len(folder.versions) == 2
    pruned = folder.ask("prune", "--keep-versions", "1", "--keep-runs", "1", "--json")
    assert pruned.code == 0, pruned.err
    assert folder.versions == [result["served"]["version"]]
    runs = folder.history
    assert runs[0]["served"]
    assert runs[0]["gone"] == []
    gone = [run for run in runs if "model" in run["gone"]]
    assert gone
    assert all(run["metrics"] for run in gone)
    assert folder.ask("report").code == 0
    assert folder.ask("compare", f"{folder.workdir}@1").code == 0
