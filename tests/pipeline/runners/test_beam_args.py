"""What Beam steps are given: the options of the configuration, checked, and the workers' code."""

import re
import tempfile
from pathlib import Path

import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions
from tfx.utils import dependency_utils

from pipeline.config import parse_config
from pipeline.runners.beam_args import IN_PROCESS, beam_args, check_beam_args, ingestion_beam_args
from transform.errors import ConfigError

PAGE = Path(__file__).parents[3] / "docs/beam.md"
DATAFLOW = (
    "--runner=DataflowRunner",
    "--project=hospital",
    "--region=europe-west4",
    "--temp_location=gs://hospital-ctnet/temp",
)
FLINK_CLUSTER = ("--runner=FlinkRunner", "--flink_master=flink.example:8081")


def config_of(*args):
    return parse_config({"beam": {"args": list(args)}})


def examples():
    """The configurations that the page shows."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(block) for block in blocks]


@pytest.mark.parametrize("given", [[], ["--setup_file=/opt/ctnet/setup.py"], ["--runner=Flink"]])
def test_tfx_packs_nothing_up(given, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    args = beam_args(config_of(*given), "registry.example/ctnet:1")
    assert dependency_utils.make_beam_dependency_flags(list(args)) == args
    assert not list(tmp_path.iterdir())


def test_workers_in_containers_run_the_image_of_the_steps():
    args = beam_args(parse_config({}), "registry.example/ctnet:1")
    assert "--sdk_container_image=registry.example/ctnet:1" in args


def test_an_image_that_the_configuration_names_stays():
    given = ["--runner=Dataflow", "--sdk_container_image=registry.example/other"]
    args = beam_args(config_of(*given), "registry.example/ctnet:1")
    assert args[: len(given)] == given
    assert not [one for one in args if "registry.example/ctnet:1" in one]


@pytest.mark.parametrize("runner", ["FlinkRunner", "portable", "SparkRunner", "DataflowRunner"])
def test_workers_elsewhere_import_tfx_before_the_libraries_that_need_it(runner):
    args = beam_args(config_of(f"--runner={runner}"))
    assert PipelineOptions(args).view_as(SetupOptions).beam_plugins == ["tfx.v1"]


def test_the_ingestion_stays_in_process_where_workers_can_mount_no_data():
    kept = ingestion_beam_args(config_of(*DATAFLOW))
    options = PipelineOptions(beam_args(config_of(*DATAFLOW)) + kept)
    assert options.view_as(StandardOptions).runner == "FnApiRunner"
    assert ingestion_beam_args(config_of(*FLINK_CLUSTER)) == []


@pytest.mark.parametrize(
    "args",
    [
        IN_PROCESS,
        (),
        ("--runner=FlinkRunner", "--parallelism=2"),
        ("--runner=SparkRunner", "--spark_master_url=local[2]"),
        (*FLINK_CLUSTER, "--environment_type=DOCKER", "--environment_config=r.example/ctnet"),
        (
            *FLINK_CLUSTER,
            "--environment_type=DOCKER",
            "--environment_option=docker_container_image=r.example/ctnet",
        ),
        ("--runner=PortableRunner", "--job_endpoint=h:1", "--environment_type=loopback"),
        # Of Flink's own options, which Beam's Python part does not know.
        ("--runner=FlinkRunner", "--number_of_execution_retries=3"),
    ],
)
def test_options_that_can_run_pass(args, tmp_path):
    check_beam_args(config_of(*args), workdir=tmp_path)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--runner=FlinkRunner", "--paralelism=2"], "no option --paralelism; did you mean --par"),
        (["--runner=FnApiRunner", "--hm=2"], "no option --hm"),
        (["--runner=FlinkRunner", "--parallelism=two"], "--parallelism: invalid int value: 'two'"),
        (["--runner", "FlinkRunner"], "'FlinkRunner' is no option; write each as --name=value"),
        (["--runner=Flunk"], "--runner=Flunk is not known"),
        (["--runner=DataflowRunner"], "temp_location=gs://"),
        (["--runner=DataflowRunner", "--temp_location=gs://hospital-ctnet/temp"], "project"),
        (FLINK_CLUSTER, "the workers of FlinkRunner would run in Beam's own image"),
        (["--runner=PortableRunner", "--job_endpoint=h:1"], "the workers of PortableRunner would"),
        (["--runner=SparkRunner", "--spark_master_url=spark://h:7077"], "the workers of Spark"),
        (DATAFLOW, "the workers of DataflowRunner cannot reach /"),
    ],
)
def test_what_cannot_run_is_one_line(args, said, tmp_path, capfd):
    with pytest.raises(ConfigError) as caught:
        check_beam_args(config_of(*args), workdir=tmp_path)
    line = str(caught.value)
    assert said in line
    assert line.startswith("beam.args: ")
    assert "\n" not in line
    assert "usage:" not in capfd.readouterr().err


def test_dataflow_may_be_where_the_steps_write_to_object_storage():
    check_beam_args(config_of(*DATAFLOW))


def test_every_example_of_the_page_is_known_to_beam():
    runners = set()
    for example in examples():
        config = parse_config(example)
        check_beam_args(config)
        options = PipelineOptions(beam_args(config))
        unknown = set(options.get_all_options(retain_unknown_options=True))
        assert unknown == set(options.get_all_options())
        runners.add(options.view_as(StandardOptions).runner)
    assert {"FlinkRunner", "PortableRunner", "SparkRunner", "DataflowRunner"} <= runners
