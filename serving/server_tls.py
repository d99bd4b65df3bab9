"""TLS of the server: its certificate and key, and whose clients it trusts."""

from __future__ import annotations

import dataclasses
import ssl
from pathlib import Path

import grpc

from transform.errors import ConfigError


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"cannot read the {what} {path} ({reason}): give a PEM file") from error


def _no_password() -> str:
    # OpenSSL would ask the terminal, and gRPC takes no password at all.
    raise ConfigError("the key is encrypted: give one without a password")


@dataclasses.dataclass(frozen=True)
class ServerTls:
    """What gRPC and HTTP servers need to speak TLS.

    Attributes:
      context: for HTTP.
      credentials: for gRPC.
    """

    context: ssl.SSLContext
    credentials: grpc.ServerCredentials


def read_server_tls(certificate: Path, key: Path, client_ca: Path | None = None) -> ServerTls:
    """Read and check the files that a server speaks TLS with.

    Args:
      certificate: PEM, the server's certificate and those that signed it.
      key: PEM, the certificate's private key, not encrypted.
      client_ca: PEM, who must have signed a client's certificate; None lets everybody in.

    Raises:
      ConfigError: a file cannot be read or is no PEM, or the key belongs to another certificate.
    """
    certificate_pem = _read(certificate, "TLS certificate")
    key_pem = _read(key, "TLS key")
    client_pem = None if client_ca is None else _read(client_ca, "TLS client CA")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ConfigError as error:
        raise ConfigError(f"cannot use the TLS key {key}: {error}") from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            reason = "the key belongs to another certificate"
        else:
            reason = f"not a PEM certificate and its key: {error.reason or error}"
        raise ConfigError(
            f"cannot use the TLS certificate {certificate} with the key {key}"
            f" ({reason}): give the two that belong together"
        ) from error
    if client_pem is not None:
        try:
            context.load_verify_locations(cadata=client_pem.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"cannot use the TLS client CA {client_ca} ({error}): give PEM certificates"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    credentials = grpc.ssl_server_credentials(
        [(key_pem, certificate_pem)],
        root_certificates=client_pem,
        require_client_auth=client_pem is not None,
    )
    return ServerTls(context, credentials)
