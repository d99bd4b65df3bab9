"""The script in docs/walkthrough: two retrainings and a rollback, served all the while."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs/walkthrough/retraining.sh"

pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """What the script printed, and its folder."""
    folder = tmp_path_factory.mktemp("walkthrough") / "folder"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", SCRIPT, folder],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    # Libraries log into files, in a run and after it.
    assert "INFO" not in done.stderr
    return done.stdout, folder


def versions(printed):
    (line,) = [line for line in printed.splitlines() if line.startswith("versions ")]
    return line.split()[1:]


def test_four_versions_were_served_one_after_the_other(walked):
    printed, folder = walked
    first, second, third, again = versions(printed)
    log = (folder / "server.log").read_text()
    assert f"version {first} at" in log
    for new, old in ((second, first), (third, second), (again, third)):
        assert f"serving version {new} instead of {old}" in log


def test_no_question_went_unanswered_while_versions_changed(walked):
    _, folder = walked
    answers = [json.loads(line) for line in (folder / "answers.jsonl").open()]
    assert len(answers) > 4 * 24
    assert not [one for one in answers if one["error"] or one["probability"] is None]


def test_after_the_rollback_the_second_model_answers_again(walked):
    _, folder = walked
    by_path = {}
    for line in (folder / "answers.jsonl").open():
        answer = json.loads(line)
        by_path.setdefault(answer["path"], []).append(answer["probability"])
    assert len(by_path) == 24
    for probabilities in by_path.values():
        first, second, third, again = [one for one, _ in itertools.groupby(probabilities)]
        assert len({first, second, third}) == 3
        assert again == second


def test_the_history_says_that_the_second_model_is_served(walked):
    _, folder = walked
    history = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "history", folder / "work", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [run["served"] for run in json.loads(history.stdout)] == [False, True, False]
