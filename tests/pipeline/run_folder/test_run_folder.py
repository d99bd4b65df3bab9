"""The folder of a run, and what the report says of leaks."""

import os

import pytest

from pipeline.config import RunConfig, parse_config
from pipeline.leaks import describe_leaks
from pipeline.run_folder.workdir import open_workdir
from transform.errors import ConfigError


def test_a_run_s_folder_is_made_with_the_names_that_users_rely_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workdir = open_workdir(tmp_path.relative_to(tmp_path) / "deep" / "work")
    root = tmp_path / "deep" / "work"
    assert sorted(path.name for path in root.iterdir()) == ["logs", "pipeline"]
    assert workdir.artifacts == root / "pipeline"
    assert workdir.metadata == root / "metadata.sqlite"
    assert workdir.logs == root / "logs"
    assert workdir.report == root / "report"
    assert workdir.serving == root / "serving" / "ctnet"
    assert workdir.summary == root / "summary.json"
    assert workdir.quarantine == root / "quarantine.jsonl"
    assert open_workdir(root) == workdir


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "work").write_text("")
    with pytest.raises(ConfigError, match=r"work: cannot be used as the run's folder .*--workdir"):
        open_workdir(tmp_path / "work")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="Permission denied"):
        open_workdir(tmp_path / "work")


def test_a_configuration_that_leaks_says_so_and_the_default_does_not():
    assert describe_leaks(RunConfig(), split_given=False) == []
    (by_image,) = describe_leaks(parse_config({"split": {"by": "image"}}), split_given=False)
    assert "split.by: image" in by_image
    # Whether anybody stands in two splits, the data says.
    kept = parse_config({"ingest": {"on_leak": "report"}})
    assert describe_leaks(kept, split_given=True) == []


def test_a_split_given_by_the_manifest_leaks_only_what_the_manifest_does():
    by_image = parse_config({"split": {"by": "image"}})
    assert describe_leaks(by_image, split_given=True) == []


def test_copies_made_before_the_split_are_a_leak_of_their_own_with_their_number():
    split = {"by": "image", "ignore_manifest": True, "augment_first": {"examples_per_class": 70}}
    for split_given in (True, False):
        copies, by_image = describe_leaks(parse_config({"split": split}), split_given=split_given)
        assert "70 copies of each class before the split" in copies
        assert "split.augment_first" in copies
        assert "split.by: image" in by_image


def test_a_manifest_s_split_that_is_left_aside_leaks_nothing():
    kept = {"split": {"ignore_manifest": True}, "ingest": {"on_leak": "report"}}
    assert describe_leaks(parse_config(kept), split_given=True) == []
