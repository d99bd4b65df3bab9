"""What a user relies on of a run on this machine, with a real pipeline of one small step."""

import pytest
from tfx import v1 as tfx
from tfx.orchestration import metadata

from components.report_gen import step_times
from components.report_gen.step_times import read_step_times
from pipeline.runners.local_runner import Listener, run_pipeline

pytestmark = pytest.mark.slow


@tfx.dsl.components.component
def Leave(path: tfx.dsl.components.Parameter[str]):  # noqa: N802
    with open(path, "w") as file:
        file.write("done")


@pytest.fixture
def run(tmp_path):
    """`run()`: runs the pipeline; gives the steps that ended."""

    def running():
        ended = []
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="tiny",
            pipeline_root=str(tmp_path / "pipeline"),
            components=[Leave(path=str(tmp_path / "left"))],
            metadata_connection_config=metadata.sqlite_metadata_connection_config(
                str(tmp_path / "metadata.sqlite")
            ),
        )
        run_pipeline(pipeline, Listener(lambda *_: None, ended.append))
        return ended

    return running


def test_times_of_steps_are_left_for_the_report(run, tmp_path):
    ended = run()
    folder = tmp_path / "pipeline" / step_times.FOLDER
    (file,) = folder.iterdir()
    assert read_step_times(folder, file.stem) == ended
    assert [one.name for one in ended] == ["Leave"]


def test_a_run_goes_on_where_its_times_cannot_be_written(run, tmp_path):
    # What is in the place of the folder refuses it, as a full disk would.
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / step_times.FOLDER).write_text("in the way")
    ended = run()
    assert [one.name for one in ended] == ["Leave"]
    assert (tmp_path / "left").read_text() == "done"
