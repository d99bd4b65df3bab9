"""The image that every step runs: what can be said of its recipe without a container engine."""

import fnmatch
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK, GPU_LOCK = "requirements.lock", "deploy/requirements-gpu.lock"


def read_instructions(path):
    """(instruction, rest) of each, continued lines joined, comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def instructions(deploy):
    return read_instructions(deploy / "Dockerfile")


@pytest.fixture(scope="module")
def stages(instructions):
    """The instructions of each stage, by its name; the last is called `image`."""
    found = {}
    for name, rest in instructions:
        if name == "FROM":
            _, _, stage = rest.partition(" AS ")
            current = found.setdefault(stage or "image", [])
        if found:
            current.append((name, rest))
    return found


@pytest.fixture(scope="module")
def copied(instructions):
    """What is copied from the checkout."""
    return [
        source
        for name, rest in instructions
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]


def is_ignored(path):
    """By .dockerignore's own rule: the last pattern that matches decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        anywhere = "**/" in line
        parts = path.split("/")
        if anywhere:
            hit = any(fnmatch.fnmatchcase(part, pattern) for part in parts)
        else:
            hit = any(
                fnmatch.fnmatchcase("/".join(parts[: count + 1]), pattern)
                for count in range(len(parts))
            )
        if hit:
            ignored = not line.startswith("!")
    return ignored


def pins(lock):
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_everything_that_is_copied_is_there_and_not_ignored(copied):
    assert {"pipeline", "components", "transform", "trainer", "serving", "configs"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), source


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "work/serving/ctnet/1/saved_model.pb",
        "demo/data/manifest.csv",
        "data/patient.dcm",
        "manifest.csv",
        "patient.key",
        "tests/conftest.py",
        "pipeline/__pycache__/cli.cpython-311.pyc",
        "ctnet.egg-info/PKG-INFO",
    ],
)
def test_no_data_no_history_and_no_environment_goes_along(path):
    assert is_ignored(path)


def test_every_package_of_ours_is_copied(copied):
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {name.removesuffix("*") for name in found["packages"]["find"]["include"]}
    assert packages <= set(copied)


def test_packages_come_from_locks_by_their_hashes_and_through_no_resolver(stages):
    installed = [
        rest
        for stage in stages.values()
        for name, rest in stage
        if name == "RUN" and "pip install" in rest
    ]
    assert len(installed) == 3
    for line, lock in zip(installed[:2], (LOCK, GPU_LOCK), strict=True):
        assert "--require-hashes" in line
        # A resolver refuses the lock: overrides.txt overrules what packages ask for.
        assert "--no-deps" in line
        assert line.endswith(f"-r /opt/locks/{Path(lock).name}")
    assert "--no-deps" in installed[2]
    assert "--editable /opt/ctnet" in installed[2]


def test_nothing_runs_as_root_at_the_end(stages):
    users = [rest for name, rest in stages["image"] if name == "USER"]
    user, group = users[-1].split(":")
    assert min(int(user), int(group)) > 0
    after = stages["image"][stages["image"].index(("USER", users[-1])) :]
    assert not {"RUN", "COPY", "ADD"} & {name for name, _ in after}


def test_the_image_has_what_was_built_and_no_builder(stages):
    froms = [rest.split()[0] for name, rest in stages["image"] if rest.startswith("--from")]
    assert froms[1:] == ["--from=ctnet", "--from=ctnet"]
    assert not any("/uv" in rest for _, rest in stages["image"])


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_each_device_has_a_stage(stages, device):
    assert f"packages-{device}" in stages
    assert ("ARG", "DEVICE=cpu") in read_instructions(ROOT / "deploy" / "Dockerfile")
    assert stages["ctnet"][0] == ("FROM", "packages-${DEVICE} AS ctnet")


def test_python_is_the_one_that_was_locked_for(stages, instructions):
    (default,) = [rest for name, rest in instructions if rest.startswith("PYTHON=")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.12"
    assert default.startswith("PYTHON=python:3.11-slim")


def test_beams_boot_is_of_the_beam_that_is_locked(stages):
    (boot,) = [rest for _, rest in stages["image"] if rest.startswith("--from=apache/beam")]
    assert boot.split()[0].endswith(f"python3.11_sdk:{pins(LOCK)['apache-beam']}")
    assert ("ENTRYPOINT", '["/opt/apache/beam/boot"]') in stages["image"]


def test_what_is_removed_again_is_for_developers_and_nothing_else_needs_it(stages):
    (line,) = [rest for name, rest in stages["ctnet"] if "pip uninstall" in rest]
    removed = set(line.split("uninstall")[1].split())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    developers = {re.split("[<>=]", one)[0] for one in project["dependency-groups"]["dev"]}
    assert removed <= developers
    assert removed <= set(pins(LOCK))
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"].lower().replace("_", "-")
        for wanted in distribution.requires or []:
            needed = re.split(r"[^A-Za-z0-9._-]", wanted)[0].lower().replace("_", "-")
            optional = "extra ==" in wanted
            assert optional or name in developers or needed not in removed, f"{name}: {wanted}"


def test_both_locks_agree_on_what_both_name():
    ours, of_gpu = pins(LOCK), pins(GPU_LOCK)
    common = ours.keys() & of_gpu.keys()
    assert {"tensorflow", "numpy", "protobuf"} <= common
    assert {name: of_gpu[name] for name in common} == {name: ours[name] for name in common}
    assert all(name.startswith("nvidia-") for name in of_gpu.keys() - common)


def test_the_gpu_lock_has_what_tensorflow_asks_for_on_a_gpu():
    asked = {
        re.split(r"[^A-Za-z0-9._-]", one)[0]
        for one in importlib.metadata.requires("tensorflow")
        if "and-cuda" in one
    }
    assert "nvidia-cudnn-cu12" in asked
    assert asked <= pins(GPU_LOCK).keys()


def test_compiled_pipelines_find_their_files_in_the_image(stages):
    from pipeline.kubeflow.compiler import IMAGE_HOME

    assert any(rest.endswith(f" {IMAGE_HOME}/transform") for _, rest in stages["ctnet"])
