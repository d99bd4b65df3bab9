"""What a killed run leaves is ended and removed; what finished steps put out is not touched."""

from ml_metadata.proto import metadata_store_pb2

from pipeline.history.metadata_store import read_runs
from pipeline.history.run_history import read_history
from pipeline.run_folder.unfinished_executions import end_unfinished_executions

STATES = metadata_store_pb2.Execution


def files(folder):
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def leave(folder):
    folder.mkdir(parents=True)
    (folder / "half").write_text("written when it was killed")


def test_half_outputs_go_and_whole_ones_stay(past):
    past.run("2026-01-01T10:00:00")
    past.run("2026-01-02T10:00:00", until="Trainer", state=STATES.RUNNING)
    workdir = past.workdir
    (killed,) = (
        one.id for one in past.store.get_executions() if one.last_known_state == STATES.RUNNING
    )
    step = workdir.artifacts / "Trainer"
    leave(step / ".checkpoints" / "of-this-training")
    before = files(workdir.artifacts)
    leave(step / "model" / str(killed))
    leave(step / "model_run" / str(killed))
    leave(step / ".system" / "executor_execution" / str(killed) / ".temp")
    leave(step / ".system" / "stateful_working_dir" / "0ba7")

    assert end_unfinished_executions(workdir) == ["Trainer"]
    assert files(workdir.artifacts) == before
    assert not (step / "model" / str(killed)).exists()
    (execution,) = past.store.get_executions_by_id([killed])
    assert execution.last_known_state == STATES.CANCELED
    assert end_unfinished_executions(workdir) == []


def test_the_history_still_calls_the_run_killed(past):
    past.run("2026-01-01T10:00:00", until="Trainer", state=STATES.RUNNING)
    before = read_history(past.workdir.root).as_json()
    end_unfinished_executions(past.workdir)
    after = read_history(past.workdir.root).as_json()
    assert [(one["verdict"], one["step"]) for one in after] == [("killed", "Trainer")]
    assert after == before
    (run,) = read_runs(past.workdir.root)
    assert run.steps["Trainer"].state == STATES.CANCELED


def test_runs_that_ended_are_left_as_they_were(past):
    past.run("2026-01-01T10:00:00")
    past.run("2026-01-02T10:00:00", until="Trainer", state=STATES.FAILED)
    before = [(one.id, one.last_known_state) for one in past.store.get_executions()]
    assert end_unfinished_executions(past.workdir) == []
    assert [(one.id, one.last_known_state) for one in past.store.get_executions()] == before


def test_a_folder_without_metadata_has_nothing_to_end(past):
    past.workdir.metadata.unlink()
    assert end_unfinished_executions(past.workdir) == []
    assert not past.workdir.metadata.exists()
