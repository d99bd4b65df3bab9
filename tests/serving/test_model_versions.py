import pytest

from serving.model_versions import newest_version, whole_versions
from transform.errors import ConfigError


def test_versions_are_ordered_by_number_and_not_by_name(model_dir):
    assert [version.number for version in whole_versions(model_dir)] == [2, 10]
    assert newest_version(model_dir).folder == model_dir / "10"


def test_a_folder_without_a_whole_version_says_what_was_expected(tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(
        ConfigError, match=r"no whole model version under .*saved_model\.pb"
    ) as info:
        newest_version(tmp_path)
    assert "\n" not in str(info.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere \(No such file or directory\)"):
        newest_version(tmp_path / "nowhere")


def test_the_folder_of_one_version_is_told_apart_from_the_folder_above_it(model_dir):
    with pytest.raises(ConfigError, match="is a SavedModel itself: give the folder above"):
        newest_version(model_dir / "10")


def test_a_number_that_no_request_can_ask_for_is_no_version(tmp_path):
    for name in ("99999999999999999999", "٣"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    assert whole_versions(tmp_path) == []
