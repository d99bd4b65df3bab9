"""Every Beam step is told where a worker's code comes from, so that TFX packs nothing up."""

import tempfile

import pytest
from tfx.utils import dependency_utils

from pipeline.beam_args import beam_args
from pipeline.config import parse_config


@pytest.mark.parametrize("given", [[], ["--setup_file=/opt/ctnet/setup.py"], ["--runner=Flink"]])
def test_tfx_packs_nothing_up(given, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    args = beam_args(parse_config({"beam": {"args": given}}), "registry.example/ctnet:1")
    assert dependency_utils.make_beam_dependency_flags(list(args)) == args
    assert not list(tmp_path.iterdir())


def test_workers_in_containers_run_the_image_of_the_steps():
    args = beam_args(parse_config({}), "registry.example/ctnet:1")
    assert "--sdk_container_image=registry.example/ctnet:1" in args


def test_an_image_that_the_configuration_names_stays():
    given = ["--runner=Dataflow", "--sdk_container_image=registry.example/other"]
    assert beam_args(parse_config({"beam": {"args": given}}), "registry.example/ctnet:1") == given
