"""The Flink job server is fetched once, whole and as its lock says, or not at all."""

import hashlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from pipeline.runners import flink_job_server
from pipeline.runners.flink_job_server import JAR, Part, cached_jar, fetch, read_lock
from transform.errors import ConfigError, CtnetError

PARTS = {"org/a/a-1.jar": b"first", "org/b/a-rather-long-name-of-a-part-1.2.3.jar": b"second"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(flink_job_server.REPOSITORY_ENVIRONMENT, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def repository(tmp_path):
    """The address of a Maven repository on disk."""
    for path, content in PARTS.items():
        file = tmp_path / "maven" / path
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    return (tmp_path / "maven").as_uri()


@pytest.fixture
def lock(tmp_path):
    lines = [f"{hashlib.sha256(content).hexdigest()}  {path}" for path, content in PARTS.items()]
    file = tmp_path / "server.lock"
    file.write_text("\n".join(["# a comment", *lines]) + "\n")
    return file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_parts_come_once_and_are_started_as_one_jar(repository, lock, tmp_path):
    jar = fetch(repository + "/", lock)
    assert jar == cached_jar(lock)
    assert names(jar.parent) == sorted([JAR, *(path.rpartition("/")[2] for path in PARTS)])
    with zipfile.ZipFile(jar) as archive:
        manifest = archive.read("META-INF/MANIFEST.MF").decode()
    assert all(len(line) <= 72 for line in manifest.split("\r\n"))
    whole = manifest.replace("\r\n ", "")
    assert "Class-Path: a-1.jar a-rather-long-name-of-a-part-1.2.3.jar\r\n" in whole
    shutil.rmtree(tmp_path / "maven")
    assert fetch(repository, lock) == jar


def test_a_damaged_part_in_the_cache_is_fetched_again(repository, lock):
    part = fetch(repository, lock).with_name("a-1.jar")
    part.write_bytes(b"cut off")
    fetch(repository, lock)
    assert part.read_bytes() == b"first"


def test_a_part_that_is_not_what_the_lock_says_is_not_kept(repository, lock, tmp_path):
    (tmp_path / "maven/org/a/a-1.jar").write_bytes(b"another")
    with pytest.raises(CtnetError, match=r"a-1\.jar: its SHA-256 is [0-9a-f]{64}, but") as caught:
        fetch(repository, lock)
    assert "\n" not in str(caught.value)
    assert not cached_jar(lock).exists()
    assert "a-1.jar" not in names(cached_jar(lock).parent)


def test_no_network_is_one_line(lock):
    # Nobody listens on port 9 of this machine, and nothing is looked up.
    with pytest.raises(CtnetError, match=r"cannot be fetched \(.*MAVEN_REPOSITORY$") as caught:
        fetch("http://127.0.0.1:9/maven2", lock)
    assert "\n" not in str(caught.value)
    assert not cached_jar(lock).exists()


def test_a_cache_that_cannot_be_made_is_one_line(repository, lock, cache):
    cache.write_text("in the way")
    with pytest.raises(ConfigError, match="XDG_CACHE_HOME"):
        fetch(repository, lock)


def test_the_command_says_what_is_wrong_in_one_line(cache):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.runners.flink_job_server"],
        env={
            "PATH": "",
            "XDG_CACHE_HOME": str(cache),
            "MAVEN_REPOSITORY": "http://127.0.0.1:9/maven2",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("ctnet: http://127.0.0.1:9/maven2/")


def test_the_lock_names_each_part_once():
    parts = read_lock()
    assert all(isinstance(one, Part) and len(one.sha256) == 64 for one in parts)
    assert len({one.name for one in parts}) == len(parts)
    (runner,) = (one for one in parts if one.name.startswith("beam-runners-flink"))
    assert f"flink-{flink_job_server.FLINK_VERSION}-" in runner.name
