"""TLS for gRPC and REST, and what is said of files that cannot be used."""

import datetime
import ipaddress
import json
import ssl
import urllib.error
import urllib.request

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving.__main__ import main
from serving.server import EmbeddedServer
from serving.server_tls import read_server_tls
from transform.errors import ConfigError
from transform.prediction import MODEL_NAME

pytest.importorskip("cryptography")
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def write_certificate(folder, name, password=None):
    """A certificate of 127.0.0.1 that signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    certificate_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    return certificate_file, key_file


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    return {
        "server": write_certificate(folder, "server"),
        "client": write_certificate(folder, "client"),
        "locked": write_certificate(folder, "locked", password=b"secret"),
    }


def grpc_state(address, credentials):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = MODEL_NAME
    with grpc.secure_channel(address, credentials) as channel:
        response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
            request, timeout=5
        )
    return response.model_version_status[0].version


def rest_state(url, context):
    with urllib.request.urlopen(f"{url}/v1/models/{MODEL_NAME}", context=context, timeout=5) as got:
        return int(json.load(got)["model_version_status"][0]["version"])


def test_both_ports_speak_tls_and_no_plain_text(model_dir, files):
    certificate, key = files["server"]
    tls = read_server_tls(certificate, key)
    with EmbeddedServer(model_dir, port=0, rest_port=0, tls=tls) as server:
        trusted = certificate.read_bytes()
        assert grpc_state(server.address, grpc.ssl_channel_credentials(trusted)) == 10
        assert server.rest_url.startswith("https://")
        context = ssl.create_default_context(cafile=certificate)
        assert rest_state(server.rest_url, context) == 10
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            rest_state(server.rest_url.replace("https", "http"), None)
        assert rest_state(server.rest_url, context) == 10
        with pytest.raises(grpc.RpcError), grpc.insecure_channel(server.address) as channel:
            model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
                get_model_status_pb2.GetModelStatusRequest(), timeout=5
            )


def test_a_client_ca_lets_in_its_own_clients_alone(model_dir, files):
    certificate, key = files["server"]
    client_certificate, client_key = files["client"]
    tls = read_server_tls(certificate, key, client_certificate)
    with EmbeddedServer(model_dir, port=0, rest_port=0, tls=tls) as server:
        trusted = certificate.read_bytes()
        known = grpc.ssl_channel_credentials(
            trusted, client_key.read_bytes(), client_certificate.read_bytes()
        )
        assert grpc_state(server.address, known) == 10
        with pytest.raises(grpc.RpcError):
            grpc_state(server.address, grpc.ssl_channel_credentials(trusted))
        context = ssl.create_default_context(cafile=certificate)
        with pytest.raises((urllib.error.URLError, OSError)):
            rest_state(server.rest_url, context)
        context.load_cert_chain(client_certificate, client_key)
        assert rest_state(server.rest_url, context) == 10


def test_files_that_cannot_be_used_are_named(files, tmp_path):
    certificate, key = files["server"]
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for arguments, complaint in [
        ((tmp_path / "none.crt", key), r"none\.crt \(No such file or directory\)"),
        ((certificate, tmp_path), r"Is a directory"),
        ((certificate, files["client"][1]), "belongs to another certificate"),
        ((nonsense, key), "not a PEM certificate"),
        ((certificate, nonsense), "not a PEM certificate"),
        (files["locked"], "encrypted"),
        ((certificate, key, nonsense), "client CA"),
    ]:
        with pytest.raises(ConfigError, match=complaint) as info:
            read_server_tls(*arguments)
        assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("option", "file", "missing"),
    [("--tls-cert", "server", "--tls-key"), ("--tls-client-ca", "client", "--tls-cert")],
)
def test_half_of_a_pair_is_refused_on_the_command_line(
    model_dir, files, capsys, option, file, missing
):
    with pytest.raises(SystemExit) as info:
        main([str(model_dir), option, str(files[file][0])])
    assert info.value.code == 2
    assert missing in capsys.readouterr().err
