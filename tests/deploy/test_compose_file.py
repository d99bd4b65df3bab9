"""The Docker Compose file: what the container may do, and how its health is known."""

import shutil
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from transform.prediction import MODEL_NAME


def test_the_container_can_change_nothing(compose_service):
    assert compose_service["read_only"] is True
    assert compose_service["cap_drop"] == ["ALL"]
    assert compose_service["security_opt"] == ["no-new-privileges:true"]
    user, group = compose_service["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert all(volume["read_only"] for volume in compose_service["volumes"])


def test_the_container_has_limits(compose_service):
    assert set(compose_service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


def test_threads_follow_the_limit(compose_service):
    cores = compose_service["deploy"]["resources"]["limits"]["cpus"]
    for scope in ("intra", "inter"):
        assert f"--tensorflow_{scope}_op_parallelism={cores}" in compose_service["command"]


def test_only_this_machine_reaches_the_server(compose_service):
    assert compose_service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]


def test_models_and_configuration_are_where_the_server_looks(compose_service, deploy):
    volumes = {volume["target"]: volume["source"] for volume in compose_service["volumes"]}
    assert set(volumes) == {"/models", "/config"}
    assert volumes["/models"].startswith("${MODELS:?")
    assert volumes["/config"] == "${CONFIG:-./serving}"
    assert (deploy / "serving").is_dir()


@pytest.fixture
def rest_port():
    """A REST port that answers for the metadata of a loaded model with 200, else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == f"/v1/models/{MODEL_NAME}/metadata"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        # Bound and not listening: nobody else can take it, and whoever connects is refused.
        yield probe.getsockname()[1]


def is_healthy(service, port, path="/metadata"):
    kind, *probe = service["healthcheck"]["test"]
    assert kind == "CMD"
    # Compose turns $$ into $.
    probe[-1] = probe[-1].replace("$$", "$")
    assert "/127.0.0.1/8501 " in probe[-1]
    probe[-1] = probe[-1].replace("/127.0.0.1/8501", f"/127.0.0.1/{port}")
    probe[-1] = probe[-1].replace("/metadata ", f"{path} ")
    return subprocess.run(probe, check=False, capture_output=True, timeout=30).returncode == 0


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@needs_bash
def test_a_server_with_a_model_is_healthy(compose_service, rest_port):
    assert is_healthy(compose_service, rest_port)


@needs_bash
def test_a_server_without_a_model_is_not_healthy(compose_service, rest_port):
    assert not is_healthy(compose_service, rest_port, path="/nothing")


@needs_bash
def test_where_nobody_listens_nothing_is_healthy(compose_service, unused_port):
    assert not is_healthy(compose_service, unused_port)
