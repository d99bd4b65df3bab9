from components.report_gen.step_times import StepTime, read_step_times, write_step_times

STEPS = [StepTime("CTExampleGen", 1.5, cached=False), StepTime("Trainer", 0.1, cached=True)]


def test_times_are_read_as_they_were_written_run_by_run(tmp_path):
    folder = tmp_path / "pipeline" / ".step_times"
    write_step_times(folder, "2025-06-14T08:31:07", STEPS[:1])
    write_step_times(folder, "2025-06-14T08:31:07", STEPS)
    write_step_times(folder, "2025-06-15T08:31:07", STEPS[:1])
    assert read_step_times(folder, "2025-06-14T08:31:07") == STEPS
    assert read_step_times(folder, "2025-06-15T08:31:07") == STEPS[:1]
    assert len(list(folder.iterdir())) == 2


def test_a_run_that_left_none_or_what_cannot_be_read_has_none(tmp_path):
    assert read_step_times(tmp_path, "unknown") == []
    write_step_times(tmp_path, "run", STEPS)
    (tmp_path / "run.json").write_text('[{"name": "Trainer"}]')
    assert read_step_times(tmp_path, "run") == []
    (tmp_path / "run.json").write_text("{")
    assert read_step_times(tmp_path, "run") == []


def test_old_runs_leave_no_more_than_a_few_files(tmp_path):
    runs = [f"2025-06-{day:02d}T08:31:07" for day in range(1, 29)]
    for run in runs:
        write_step_times(tmp_path, run, STEPS)
        # As a run leaves it that was killed while it wrote.
        (tmp_path / f".{run}.json.4711").write_text("[")
    write_step_times(tmp_path, runs[-1], STEPS[:1])
    assert sorted(one.name for one in tmp_path.iterdir()) == [f"{run}.json" for run in runs[-10:]]
    assert read_step_times(tmp_path, runs[-1]) == STEPS[:1]
    # The run at work is kept, whatever its id.
    write_step_times(tmp_path, "1999", STEPS)
    assert read_step_times(tmp_path, "1999") == STEPS
    assert len(list(tmp_path.iterdir())) == 10
