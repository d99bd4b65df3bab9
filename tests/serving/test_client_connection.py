"""How the client stands unreliable, slow, encrypted and foreign servers: real ones, over gRPC."""

import contextlib
import http.server
import socket
import ssl
import subprocess
import threading
import time
from concurrent import futures

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import Client, Prediction
from serving.client_tls import Tls
from serving.message_size import MAX_MESSAGE_BYTES, size_options
from transform.errors import ConfigError, CtnetError
from transform.prediction import DECISION, IMAGE_BYTES, PROBABILITY, THRESHOLD

ANSWER = Prediction(probability=0.75, decision=1, threshold=0.5)


class Scripted(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers every request alike, after the statuses that it was given have been used up."""

    def __init__(
        self,
        *statuses,
        outputs=(PROBABILITY, DECISION, THRESHOLD),
        answer=None,
        wait=None,
        details="not now",
    ):
        self.statuses = list(statuses)
        self.details = details
        self.outputs = outputs
        self.answer = answer or {}
        self.wait = wait
        self.arrivals = []
        self.specs = []

    def GetModelMetadata(self, request, context):  # noqa: N802
        self.specs.append(request.model_spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap())
        return response

    def Predict(self, request, context):  # noqa: N802 TF Serving's name
        self.arrivals.append(time.monotonic())
        self.specs.append(request.model_spec)
        if self.wait is not None:
            self.wait.wait(20)
        if self.statuses:
            context.abort(self.statuses.pop(0), self.details)
        count = request.inputs[IMAGE_BYTES].tensor_shape.dim[0].size
        values = {
            PROBABILITY: tf.constant([ANSWER.probability] * count),
            DECISION: tf.constant([ANSWER.decision] * count, tf.int64),
            THRESHOLD: tf.constant([ANSWER.threshold] * count),
            **self.answer,
        }
        response = predict_pb2.PredictResponse()
        for name in self.outputs:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(values[name]))
        return response


@contextlib.contextmanager
def serve(servicer, *, port=0, credentials=None, max_bytes=MAX_MESSAGE_BYTES):
    server = grpc.server(futures.ThreadPoolExecutor(2), options=size_options(max_bytes))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    target = f"localhost:{port}"
    if credentials is None:
        port = server.add_insecure_port(target)
    else:
        port = server.add_secure_port(target, credentials)
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()


def one_line_error(ask):
    with pytest.raises(CtnetError) as info:
        ask()
    assert "\n" not in str(info.value)
    return str(info.value)


UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


# 300 kB is more than gRPC keeps for a retry unless it is told to.
@pytest.mark.parametrize("size", [10, 300_000])
def test_a_server_that_is_unavailable_for_a_moment_is_asked_again(size):
    flaky = Scripted(UNAVAILABLE, UNAVAILABLE)
    with serve(flaky) as address, Client(address) as client:
        assert client.predict_pictures([b"x" * size]) == [ANSWER]
    assert len(flaky.arrivals) == 3


@pytest.mark.slow
def test_the_wait_between_attempts_grows():
    flaky = Scripted(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE)
    with serve(flaky) as address, Client(address) as client:
        assert client.predict_pictures([b"x"]) == [ANSWER]
    first, second, third, fourth = flaky.arrivals
    # gRPC draws each wait from within a fifth of 0.2, 0.5 and 1.25 s; a busy machine adds to them.
    assert second - first > 0.15
    assert third - second > 0.39
    assert fourth - third > max(0.99, second - first)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_server_that_stays_unavailable_is_given_up(retries):
    dead = Scripted(*[UNAVAILABLE] * 9)
    with serve(dead) as address, Client(address, retries=retries) as client:
        line = one_line_error(lambda: client.predict_pictures([b"x"]))
    assert len(dead.arrivals) == 1 + retries
    assert address in line
    assert "not now" in line


@pytest.mark.parametrize("status", ["INTERNAL", "RESOURCE_EXHAUSTED", "ABORTED", "UNKNOWN"])
def test_no_other_failure_is_repeated(status):
    failing = Scripted(grpc.StatusCode[status])
    with serve(failing) as address, Client(address) as client:
        assert "not now" in one_line_error(lambda: client.predict_pictures([b"x"]))
    assert len(failing.arrivals) == 1


@pytest.mark.parametrize(
    "details",
    [
        "queue full: 128 requests are waiting; try again later",
        "9999 bytes of other requests are pending, of at most 10000; try again later",
        "Concurrent RPC limit exceeded!",
    ],
)
def test_a_server_with_too_many_requests_is_not_sent_more_of_them(tmp_path, picture, details):
    """Each slice by itself would be sixteen requests in the place of one."""
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        path.write_bytes(picture(100))
    full = Scripted(grpc.StatusCode.RESOURCE_EXHAUSTED, details=details)
    with serve(full) as address, Client(address) as client:
        line = one_line_error(lambda: list(client.predict_files(paths)))
    assert "has too many requests" in line
    assert len(full.arrivals) == 1


def test_the_deadline_covers_all_attempts():
    dead = Scripted(*[UNAVAILABLE] * 9)
    with serve(dead) as address, Client(address, timeout=0.5) as client:
        begun = time.monotonic()
        line = one_line_error(lambda: client.predict_pictures([b"x"]))
        # All attempts together would take four seconds or more.
        assert time.monotonic() - begun < 3
    assert "0.5 s" in line
    assert len(dead.arrivals) >= 1


@pytest.mark.slow
def test_a_server_that_starts_late_is_reached():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    asked = []
    with contextlib.ExitStack() as stack, Client(f"localhost:{port}") as client:
        thread = threading.Thread(target=lambda: asked.extend(client.predict_pictures([b"x"])))
        thread.start()
        stack.callback(thread.join)
        stack.enter_context(serve(Scripted(), port=port))
        thread.join(30)
        assert asked == [ANSWER]


@pytest.mark.parametrize(
    "wrong",
    [
        {"retries": -1},
        {"retries": 5},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"version": -1},
        {"version": 2**63},
        {"version": "100"},
        {"version": True},
        {"version": 1.0},
        {"version_label": "stable", "version": 1},
    ],
)
def test_settings_out_of_range_are_refused_at_once(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Client("localhost:1", **wrong)


@pytest.mark.parametrize(
    "address",
    ["http://localhost:8500", "localhost", "127.0.0.1", "::1", "[::1]", "a:b", "a:0", "a:70000"],
)
def test_an_address_that_is_not_host_and_port_is_refused_at_once(address):
    with pytest.raises(ConfigError, match="HOST:PORT"):
        Client(address)


@pytest.mark.parametrize(
    "address", ["localhost:8500", "10.0.0.1:1", "[::1]:8500", "a-b.example:65535", "unix:/run/x"]
)
def test_an_address_that_grpc_can_use_is_taken(address):
    Client(address).close()


def test_a_rest_port_is_told_from_a_grpc_port():
    handler = http.server.BaseHTTPRequestHandler
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as rest:
        thread = threading.Thread(target=rest.serve_forever)
        thread.start()
        try:
            with Client(f"localhost:{rest.server_port}", retries=0) as client:
                line = one_line_error(lambda: client.predict_pictures([b"x"]))
        finally:
            rest.shutdown()
            thread.join()
    assert "probably the REST port" in line
    assert "8500" in line


@pytest.mark.parametrize(
    ("given", "field"),
    [({"version": 0}, "version"), ({"version_label": "canary"}, "version_label"), ({}, None)],
)
def test_every_request_names_the_version_that_was_given(given, field):
    scripted = Scripted()
    with serve(scripted) as address, Client(address, **given) as client:
        assert client.predict_pictures([b"x"]) == [ANSWER]
        assert client.predict_pictures([b"x"]) == [ANSWER]
        client.signatures()
    assert {spec.WhichOneof("version_choice") for spec in scripted.specs} == {field}
    assert {spec.version_label for spec in scripted.specs} == {given.get("version_label", "")}
    # A label is looked up once.
    assert len(scripted.specs) == 3


def test_what_a_server_says_cannot_steer_a_terminal():
    failing = Scripted(grpc.StatusCode.INTERNAL, details="\x1b[31mred\x07\nalert")
    with serve(failing) as address, Client(address) as client:
        line = one_line_error(lambda: client.predict_pictures([b"x"]))
    assert "red alert" in line
    assert line.isprintable()


def test_a_slow_server_is_named_with_the_time_it_had():
    answer = threading.Event()
    with serve(Scripted(wait=answer)) as address, Client(address, timeout=0.2) as client:
        line = one_line_error(lambda: client.predict_pictures([b"x"]))
        answer.set()
    assert address in line
    assert "0.2 s" in line


@pytest.mark.parametrize("outputs", [(), (PROBABILITY,), (DECISION, THRESHOLD)])
def test_an_answer_without_the_outputs_of_ctnet_is_no_prediction(outputs):
    with serve(Scripted(outputs=outputs)) as address, Client(address) as client:
        line = one_line_error(lambda: client.predict_pictures([b"x"]))
    assert "not a ctnet model" in line


@pytest.mark.parametrize(
    "answer",
    [
        {DECISION: tf.constant([float("nan")])},
        {DECISION: tf.constant([b"covid"])},
        {PROBABILITY: tf.constant([b"x"])},
        {THRESHOLD: tf.constant([1], tf.int64)},
    ],
)
def test_an_answer_of_other_types_is_no_prediction(answer):
    with serve(Scripted(answer=answer)) as address, Client(address) as client:
        line = one_line_error(lambda: client.predict_pictures([b"x"]))
    assert "not a ctnet model" in line


def test_a_server_with_a_smaller_limit_still_gets_every_small_file(tmp_path, picture):
    paths = [tmp_path / f"{grey}.png" for grey in range(3)]
    for path in paths:
        path.write_bytes(picture(255) + b"\0" * 4000)
    with serve(Scripted(), max_bytes=10_000) as address, Client(address) as client:
        results = list(client.predict_files(paths))
    assert [result.prediction for result in results] == [ANSWER] * 3


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """Certificates of two authorities: `ca` signed `server` and `client`, `other` signed nobody."""
    folder = tmp_path_factory.mktemp("pem")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    try:
        for name in ("ca", "other"):
            subject = ("-subj", f"/CN={name}", "-days", "2")
            openssl("req", "-x509", *new_key, "-keyout", f"{name}.key", "-out", name, *subject)
    except FileNotFoundError:
        pytest.skip("there is no openssl here to make certificates with")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    for name in ("server", "client"):
        request = ("-subj", f"/CN={name}", "-out", f"{name}.csr")
        openssl("req", *new_key, "-keyout", f"{name}.key", *request)
        signer = ("-CA", "ca", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        openssl("x509", "-req", "-in", f"{name}.csr", *signer, "-extfile", "names", "-out", name)
    return folder


@pytest.fixture
def server_credentials(pem):
    def credentials(*, ask_client=False):
        pair = ((pem / "server.key").read_bytes(), (pem / "server").read_bytes())
        roots = (pem / "ca").read_bytes() if ask_client else None
        return grpc.ssl_server_credentials([pair], roots, require_client_auth=ask_client)

    return credentials


def test_an_encrypted_server_is_asked(pem, server_credentials):
    with (
        serve(Scripted(), credentials=server_credentials()) as address,
        Client(address, tls=Tls(ca=pem / "ca")) as client,
    ):
        assert client.predict_pictures([b"x"]) == [ANSWER]


def test_a_client_shows_its_certificate(pem, server_credentials):
    tls = Tls(ca=pem / "ca", certificate=pem / "client", key=pem / "client.key")
    with (
        serve(Scripted(), credentials=server_credentials(ask_client=True)) as address,
        Client(address, tls=tls) as client,
    ):
        assert client.predict_pictures([b"x"]) == [ANSWER]


@pytest.mark.parametrize("trust", ["other", "public", "nothing"])
def test_a_server_that_is_not_trusted_is_sent_nothing(pem, server_credentials, trust):
    tls = {"other": Tls(ca=pem / "other"), "public": Tls(), "nothing": None}[trust]
    scripted = Scripted()
    with (
        serve(scripted, credentials=server_credentials()) as address,
        Client(address, tls=tls, retries=0) as client,
    ):
        line = one_line_error(lambda: client.predict_pictures([b"x"]))
    assert address in line
    assert "TLS" in line
    assert scripted.arrivals == []


def test_a_client_without_the_certificate_that_is_asked_for_is_told(pem, server_credentials):
    scripted = Scripted()
    with (
        serve(scripted, credentials=server_credentials(ask_client=True)) as address,
        Client(address, tls=Tls(ca=pem / "ca"), retries=0) as client,
    ):
        assert "TLS" in one_line_error(lambda: client.predict_pictures([b"x"]))
    assert scripted.arrivals == []


def test_a_plain_server_is_not_asked_where_encryption_is_wanted(pem):
    scripted = Scripted()
    with (
        serve(scripted) as address,
        Client(address, tls=Tls(ca=pem / "ca"), retries=0) as client,
    ):
        assert "TLS" in one_line_error(lambda: client.predict_pictures([b"x"]))
    assert scripted.arrivals == []


def test_files_that_are_no_certificates_are_named_before_anything_is_sent(pem, tmp_path):
    junk, missing = tmp_path / "junk.pem", tmp_path / "missing.pem"
    junk.write_text("no certificate")
    own, key = pem / "client", pem / "client.key"
    for tls, named in [
        (Tls(ca=junk), junk),
        (Tls(ca=missing), missing),
        (Tls(certificate=own, key=junk), junk),
        (Tls(certificate=missing, key=key), missing),
        (Tls(certificate=own, key=pem / "server.key"), own),
    ]:
        with pytest.raises(ConfigError, match=named.name) as info:
            Client("localhost:1", tls=tls)
        assert "\n" not in str(info.value)
    with pytest.raises(ConfigError, match="together"):
        Client("localhost:1", tls=Tls(certificate=own))


def test_an_encrypted_key_is_refused_and_its_password_not_asked_for(pem, tmp_path):
    key = tmp_path / "encrypted.key"
    encrypt = ["openssl", "ec", "-aes128", "-passout", "pass:secret"]
    subprocess.run(
        [*encrypt, "-in", pem / "client.key", "-out", key], check=True, capture_output=True
    )
    with pytest.raises(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(pem / "client", key, password="")
    with pytest.raises(ConfigError, match=r"encrypted\.key"):
        Client("localhost:1", tls=Tls(certificate=pem / "client", key=key))
