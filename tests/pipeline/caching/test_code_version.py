"""The code version that makes TFX's cache miss when code changes."""

import pytest

from pipeline.caching.code_version import code_version, hash_sources


@pytest.fixture
def tree(tmp_path):
    for name in ("trainer/a.py", "trainer/deep/b.py", "transform/schema.pbtxt", "other/c.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


FOLDERS = ["trainer", "transform"]


@pytest.mark.parametrize("name", ["trainer/a.py", "trainer/deep/b.py", "transform/schema.pbtxt"])
def test_a_change_of_one_source_file_changes_the_version(tree, name):
    before = hash_sources(tree, FOLDERS)
    (tree / name).write_text("changed")
    assert hash_sources(tree, FOLDERS) != before


def test_a_new_a_renamed_and_a_removed_file_change_the_version(tree):
    versions = [hash_sources(tree, FOLDERS)]
    (tree / "trainer/new.py").write_text("")
    versions.append(hash_sources(tree, FOLDERS))
    (tree / "trainer/new.py").rename(tree / "trainer/newer.py")
    versions.append(hash_sources(tree, FOLDERS))
    (tree / "trainer/a.py").unlink()
    versions.append(hash_sources(tree, FOLDERS))
    assert len(set(versions)) == 4


def test_other_folders_compiled_files_and_the_order_do_not_matter(tree):
    before = hash_sources(tree, FOLDERS)
    (tree / "other/c.py").write_text("changed")
    (tree / "trainer/__pycache__").mkdir()
    (tree / "trainer/__pycache__/a.cpython-311.pyc").write_bytes(b"x")
    assert hash_sources(tree, FOLDERS) == before
    assert hash_sources(tree, reversed(FOLDERS)) == before
    assert hash_sources(tree, ["trainer", "transform", "trainer"]) == before


def test_it_does_not_matter_where_the_distribution_lies(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "site-packages"
    before = hash_sources(tree, FOLDERS)
    tree.rename(elsewhere)
    assert hash_sources(elsewhere, FOLDERS) == before


def test_a_folder_that_is_not_there_is_an_error_and_not_an_empty_version(tree):
    with pytest.raises(FileNotFoundError, match="trianer"):
        hash_sources(tree, ["trianer"])


def test_each_package_of_the_distribution_has_a_version_of_its_own():
    packages = ("pipeline", "components", "transform", "trainer", "serving")
    assert len({code_version(package) for package in packages}) == len(packages)
