"""TLS of the client: whom to trust, and how to show who is asking."""

from __future__ import annotations

import dataclasses
import ssl
from pathlib import Path

import grpc

from transform.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Tls:
    """What an encrypted connection is made with; all files are PEM.

    Attributes:
      ca: certificates of the authorities that the server's certificate must come from; None for
        the public ones that gRPC brings along.
      certificate: the client's own certificate chain, for servers that ask for one.
      key: the private key of `certificate`, not encrypted.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises:
          ConfigError: a file cannot be read, is no PEM of its kind, or certificate and key do not
            belong together.
        """
        self._check()
        return grpc.ssl_channel_credentials(
            root_certificates=self.ca.read_bytes() if self.ca else None,
            private_key=self.key.read_bytes() if self.key else None,
            certificate_chain=self.certificate.read_bytes() if self.certificate else None,
        )

    def _check(self) -> None:
        """Let OpenSSL read the files: gRPC would say nothing before the handshake fails."""
        if (self.certificate is None) != (self.key is None):
            raise ConfigError(
                "a client's certificate and its private key are given together or not at all"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except OSError as error:
                raise ConfigError(
                    f"{self.ca}: cannot be used as CA certificates ({_reason(error)}); give a PEM "
                    "file"
                ) from error
        if self.certificate is not None and self.key is not None:
            try:
                # Without a password OpenSSL would ask on the terminal for that of an encrypted key.
                context.load_cert_chain(self.certificate, self.key, password="")
            except OSError as error:
                raise ConfigError(
                    f"{self.certificate} and {self.key}: cannot be used as certificate and private "
                    f"key ({_reason(error)}); give PEM files that belong together, the key without "
                    "a password"
                ) from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM").replace("_", " ").lower()
    return error.strerror or type(error).__name__
