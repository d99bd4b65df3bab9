"""Weights that cannot be had stop a run before it begins, where that can be known."""

import pytest
import tf_keras

from pipeline.config import parse_config
from pipeline.run import RunRequest, run
from pipeline.terminal import RunDisplay
from transform.errors import ConfigError


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("path,label,patient_id\na.png,1,a\n")
    return path


@pytest.mark.parametrize("weights", ["imagenet", "last_blessed"])
def test_a_first_run_without_a_network_stops_before_its_first_step(
    manifest, tmp_path, monkeypatch, weights
):
    """With nothing blessed yet, last_blessed needs what imagenet needs."""

    def unreachable(*_, **__):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(tf_keras.utils, "get_file", unreachable)
    request = RunRequest(parse_config({"model": {"weights": weights}}), manifest, tmp_path / "work")
    with pytest.raises(ConfigError, match=r"imagenet could not be downloaded .*URL fetch failure"):
        run(request, RunDisplay())
    assert not (tmp_path / "work" / "metadata.sqlite").exists()
