"""The deployment files as the tests read them, and what TensorFlow Serving says it understands."""

import dataclasses
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

# What the server's own usage text lists.
FLAGS = Path(__file__).with_name("tensorflow_model_server_flags.txt")


@dataclasses.dataclass(frozen=True)
class ServerCommand:
    """How a deployment starts the server: the program and its flags by name."""

    program: str
    flags: dict[str, str]


def server_command(program, arguments):
    flags = {}
    for argument in arguments:
        name, _, value = argument.partition("=")
        assert name.startswith("--"), f"{argument!r} is no flag"
        assert value, f"{argument!r} has no value"
        assert name[2:] not in flags, f"{argument!r} is given twice"
        flags[name[2:]] = value
    return ServerCommand(program, flags)


@pytest.fixture(scope="session")
def deploy():
    return DEPLOY


@pytest.fixture(scope="session")
def compose_service():
    return yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())["services"]["serving"]


@pytest.fixture(scope="session")
def manifests():
    """Every Kubernetes object of the base by its kind, and the claim that stands apart."""
    base = DEPLOY / "kubernetes" / "base"
    names = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    files = [base / name for name in names if name.endswith(".yaml")]
    files.append(DEPLOY / "kubernetes" / "persistent-volume-claim.yaml")
    objects = [yaml.safe_load(file.read_text()) for file in files]
    return {each["kind"]: each for each in objects}


@pytest.fixture(scope="session")
def pod(manifests):
    return manifests["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="session")
def container(pod):
    (only,) = pod["containers"]
    return only


@pytest.fixture(params=["compose", "kubernetes"])
def command(request):
    """The server's command in each deployment, one after the other."""
    if request.param == "compose":
        service = request.getfixturevalue("compose_service")
        (program,) = service["entrypoint"]
        return server_command(program, service["command"])
    container = request.getfixturevalue("container")
    (program,) = container["command"]
    return server_command(program, container["args"])


@pytest.fixture(scope="session")
def known_flags():
    return frozenset(FLAGS.read_text().split())
