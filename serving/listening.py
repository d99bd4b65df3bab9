"""Where a server listens: checking an address, and saying why it cannot be used."""

from __future__ import annotations

import dataclasses
import socket

from transform.errors import ConfigError

_HIGHEST_PORT = 65535


@dataclasses.dataclass(frozen=True)
class ListenAddress:
    """One numeric address and a port that was free a moment ago (0: any)."""

    family: socket.AddressFamily
    address: str
    port: int

    @property
    def target(self) -> str:
        """As gRPC wants it: host:port, an IPv6 address in brackets."""
        return host_and_port(self.address, self.port)

    def taken(self, obstacle: str) -> ConfigError:
        """The error of an address that cannot be listened on."""
        return ConfigError(
            f"cannot listen on {self.target} ({obstacle}): give another port, or 0 for any free one"
        )


def host_and_port(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _obstacle(where: ListenAddress) -> str | None:
    """Why nothing can listen there, which gRPC does not say; None where something can."""
    try:
        with socket.socket(where.family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((where.address, where.port))
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def listen_address(host: str, port: int) -> ListenAddress:
    """The address to listen on for a host's name and a port.

    gRPC would listen on every address of a name and be content when one of them is free: two
    servers could then share `localhost`, one on IPv4 and one on IPv6.

    Raises:
      ConfigError: there is no such host or port, or something listens there already.
    """
    if not 0 <= port <= _HIGHEST_PORT:
        raise ConfigError(f"no port {port}: give one from 1 to {_HIGHEST_PORT}, or 0 for any")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot listen on {host}: {reason}; give another host") from error
    where = ListenAddress(family, str(address[0]), port)
    obstacle = _obstacle(where)
    if obstacle is not None:
        raise where.taken(obstacle)
    return where
