"""`ctnet run`, killed at each step, and run again each time."""

import contextlib
import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2

from components.atomic_pusher.executor import CARD_IN_VERSION
from pipeline.run_folder.outputs import open_store
from pipeline.run_folder.workdir import Workdir
from transform.training_record import read_record

pytestmark = [pytest.mark.e2e, pytest.mark.long]

FORKED_RUNS = Path(__file__).with_name("forked_runs.py")
# Seeds the moments at which steps are killed.
SEED = 7
HOUR = 3600.0
ROOMY = 1 << 29
STATES = metadata_store_pb2.Execution
OUTPUT = metadata_store_pb2.Event.OUTPUT
STEP_LINE = re.compile(r"^\[ ?\d+/\d+\] +(\w+) +(cached|failed|[\d.]+ s)", re.MULTILINE)


@dataclasses.dataclass
class Ended:
    """A command that has ended.

    Attributes:
      code: its exit code, or minus the signal that killed it.
      printed: what it printed, errors included.
      group: the id of its process, and of the group of it and its children.
    """

    code: int
    printed: str
    group: int

    @property
    def steps(self):
        """Steps that ended in it, in order; whether each came from the cache."""
        return {name: how == "cached" for name, how in STEP_LINE.findall(self.printed)}


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """`forked(argument, ..., die=...)`: the command line, forked off a process that is ready."""
    folder = tmp_path_factory.mktemp("forked")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, FORKED_RUNS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout.readline() == "ready\n", (folder / "log").read_text()

    def run(*arguments, die=None):
        out = folder / "out"
        request = {"arguments": [*map(str, arguments)], "out": str(out), "die": die}
        print(json.dumps(request), file=process.stdin, flush=True)
        pid, code = map(int, process.stdout.readline().split())
        return Ended(code, out.read_text(), pid)

    yield run
    process.kill()
    process.wait()


def executions(workdir):
    """States of a folder's executions, by step, oldest first."""
    store = open_store(workdir)
    steps = {}
    for context in store.get_contexts_by_type("node"):
        found = sorted(store.get_executions_by_context(context.id), key=lambda one: one.id)
        steps[context.name.rpartition(".")[2]] = [one.last_known_state for one in found]
    return steps


def published(workdir):
    """Folders of what finished steps put out."""
    store = open_store(workdir)
    ids = [one.id for one in store.get_executions()]
    outputs = {
        one.artifact_id for one in store.get_events_by_execution_ids(ids) if one.type == OUTPUT
    }
    return {Path(one.uri) for one in store.get_artifacts_by_id(sorted(outputs))}


def contents(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def served_versions(workdir):
    """Versions that a server sees; each has to be a whole export with its card."""
    folders = workdir.serving.iterdir() if workdir.serving.exists() else ()
    versions = sorted(one for one in folders if one.name.isdecimal())
    exports = [contents(one) for one in workdir.artifacts.glob("Trainer/model/*/Format-Serving")]
    for version in versions:
        found = contents(version)
        assert found.pop(CARD_IN_VERSION)
        assert found in exports
    return [one.name for one in versions]


def answers(run):
    return {one["id"]: (one["probability"], one["decision"]) for one in run.predictions()}


def members(group):
    """Processes of a group that have not ended."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of_group = file.read_text().rpartition(")")[2].split()[:3]
            found += [file.parent.name] if int(of_group) == group and state != "Z" else []
    return found


def wait_for_the_end_of(group, seconds=60):
    """What a killed command has started must not outlive it."""
    until = time.monotonic() + seconds
    while members(group):
        assert time.monotonic() < until, members(group)
        time.sleep(0.05)


@dataclasses.dataclass
class Disk:
    """A disk that can be made full.

    Attributes:
      folder: what lies on it.
      own: whether it is one of its own, which takes the right to mount.
    """

    folder: Path
    own: bool

    def leave(self, free):
        """Have it take so many bytes more."""
        status = os.statvfs(self.folder)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        self.resize(used + free)

    def resize(self, size):
        options = f"remount,size={size}"
        subprocess.run(["mount", "-o", options, self.folder], check=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", folder]
    own = subprocess.run(command, capture_output=True, check=False).returncode == 0
    yield Disk(folder, own)
    if own:
        subprocess.run(["umount", "--lazy", folder], check=True)


@dataclasses.dataclass
class Survivor:
    """A folder in which a run was killed again and again.

    Attributes:
      run: the finished run.
      arguments: of the command.
      kills: how often it was killed inside a step.
      versions: that a server saw when the run had ended.
      last: the command that ended by itself.
    """

    run: object
    arguments: tuple
    kills: int
    versions: list
    last: Ended


@pytest.fixture(scope="module")
def survivor(first_run, forked, tiny_config, mixed_manifest, disk):
    """Killed in each step, between steps and at the end; each time the next run goes on."""
    workdir = Workdir(disk.folder / "run")
    arguments = (
        "run",
        "--config",
        tiny_config,
        "--data",
        mixed_manifest,
        "--workdir",
        workdir.root,
    )
    assert first_run.done.code == 0, first_run.done.err
    seconds = {one["name"]: one["seconds"] for one in first_run.summary["steps"]}
    steps = list(seconds)
    draw = random.Random(SEED)
    kills = 0
    for number, step in enumerate(steps):
        # Whatever comes first: the moment, or the end of the step's work.
        moments = [{"in": step, "after": draw.uniform(0.0, seconds[step])}]
        if step == "Trainer":
            moments = [{"in_epoch": 2}]
        elif step == "Transform":
            moments.append({"behind": step})
        elif step == "AtomicPusher":
            # Once more when the version is visible and the metadata does not know it.
            moments.append({"in": step, "after": HOUR})
        elif step == "ServingValidator":
            moments[0]["alone"] = True
        for die in moments:
            killed = forked(*arguments, die=die)
            assert killed.code == -signal.SIGKILL, killed.printed
            wait_for_the_end_of(killed.group)
            states = executions(workdir)
            active = [name for name, found in states.items() if STATES.RUNNING in found]
            versions = served_versions(workdir)
            assert len(versions) <= (step in steps[steps.index("AtomicPusher") :])
            if "behind" in die:
                # The step's line has not been printed yet.
                assert killed.steps == dict.fromkeys(steps[:number], True)
                assert active == []
                continue
            kills += 1
            if "in_epoch" in die:
                assert not list(workdir.artifacts.glob("Trainer/model/*/Format-Serving*"))
            # What had ended came from the cache; but for the step after which it was killed.
            assert [*killed.steps] == steps[:number]
            ran = [name for name, cached in killed.steps.items() if not cached]
            assert ran in ([], steps[number - 1 : number])
            assert active == [step]
            assert states[step][-1] == STATES.RUNNING
    killed = forked(*arguments, die={"at_the_end": True})
    assert killed.code == -signal.SIGKILL
    assert not workdir.summary.exists()
    last = forked(*arguments)
    run = dataclasses.replace(first_run, workdir=workdir.root)
    return Survivor(run, arguments, kills, served_versions(workdir), last)


def test_a_run_killed_at_each_step_ends_as_if_nothing_had_happened(survivor, first_run):
    last, run = survivor.last, survivor.run
    assert last.code == 0, last.printed
    assert all(one["cached"] for one in run.summary["steps"])
    assert [one["name"] for one in run.summary["steps"]] == [
        one["name"] for one in first_run.summary["steps"]
    ]
    for fact in ("verdict", "metrics", "bounds", "counts", "cautions", "shortcuts"):
        assert run.summary[fact] == first_run.summary[fact]
    assert answers(run) == answers(first_run)
    found, wanted = (read_record(one.artifact("Trainer", "model_run")) for one in (run, first_run))
    assert (found.resumed_from, wanted.resumed_from) == (1, None)
    assert found.epochs == wanted.epochs
    assert found.operating_point == wanted.operating_point
    assert survivor.versions == [run.summary["version"]]


def test_killed_steps_are_noted_as_such_and_leave_nothing(survivor):
    workdir = Workdir(survivor.run.workdir)
    states = [state for found in executions(workdir).values() for state in found]
    assert states.count(STATES.CANCELED) == survivor.kills
    assert {*states} == {STATES.CANCELED, STATES.COMPLETE, STATES.CACHED}
    outputs = published(workdir)
    assert all(any(folder.iterdir()) for folder in outputs)
    numbered = {one for one in workdir.artifacts.glob("*/*/*") if one.name.isdecimal()}
    # A resolver puts out what it found: all that stands on the disk is some step's.
    assert numbered == outputs
    system = workdir.artifacts.glob("*/.system/*/*")
    assert not [one for one in system if any(one.iterdir())]
    assert not list(workdir.artifacts.glob("Trainer/.checkpoints/*"))
    assert not list(workdir.serving.glob(".*"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.unlink(), "was missing and is restored"),
        (lambda file: file.write_bytes(file.read_bytes()[:50_000]), "damaged"),
    ],
    ids=["lost", "cut off"],
)
def test_a_run_brings_lost_metadata_back_and_keeps_its_results(survivor, forked, damage, said):
    workdir = Workdir(survivor.run.workdir)
    damage(workdir.metadata)
    again = forked(*survivor.arguments)
    assert again.code == 0, again.printed
    assert said in again.printed
    assert all(again.steps.values())
    assert served_versions(workdir) == survivor.versions


def test_without_a_copy_lost_metadata_is_one_line(survivor, forked):
    workdir = Workdir(survivor.run.workdir)
    kept = [(file, file.read_bytes()) for file in (workdir.metadata, workdir.metadata_backup)]
    for file, _ in kept:
        file.unlink()
    refused = forked(*survivor.arguments)
    assert refused.code == 2
    assert refused.printed.startswith(f"ctnet: {workdir.metadata}: missing, and its copy")
    assert len(refused.printed.splitlines()) == 1
    for file, content in kept:
        file.write_bytes(content)
    again = forked(*survivor.arguments)
    assert again.code == 0, again.printed
    assert all(again.steps.values())


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_space(survivor, forked, disk):
    if not disk.own:
        pytest.skip("may not mount a file system to fill")
    workdir = Workdir(survivor.run.workdir)
    # Everything up to the Trainer comes from the cache.
    arguments = (*survivor.arguments, "--set", "evaluate.resamples=150")
    for free in (0, 600_000):
        disk.leave(free)
        stopped = forked(*arguments)
        disk.resize(ROOMY)
        assert stopped.code == 1
        (line,) = (one for one in stopped.printed.splitlines() if one.startswith("ctnet: "))
        assert line.startswith("ctnet: no space left: ")
        assert str(workdir.root) in line
        assert "Traceback" not in stopped.printed
        assert served_versions(workdir) == survivor.versions
    again = forked(*arguments)
    assert again.code == 0, again.printed
    assert again.steps["Trainer"]
    assert not all(again.steps.values())
    assert not any(STATES.RUNNING in found for found in executions(workdir).values())


def test_a_full_disk_stops_other_commands_with_one_line_too(forked, disk):
    if not disk.own:
        pytest.skip("may not mount a file system to fill")
    disk.leave(100_000)
    stopped = forked("phantom", disk.folder / "ct", "--patients", 4)
    disk.resize(ROOMY)
    assert stopped.code == 1
    (line,) = (one for one in stopped.printed.splitlines() if one.startswith("ctnet: "))
    assert line.startswith("ctnet: no space left: ")
    assert str(disk.folder / "ct") in line
    assert "Traceback" not in stopped.printed
