"""The address that a client is given: host:port of a server's gRPC port."""

from __future__ import annotations

import re

from transform.errors import ConfigError

_HOST_AND_PORT = re.compile(r"(?:\[[^\[\]\s]+\]|[^:/\s\[\]]+):(?P<port>[0-9]{1,5})")
_HIGHEST_PORT = 2**16 - 1

# gRPC's own ways to name a server (https://github.com/grpc/grpc/blob/master/doc/naming.md).
_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")


def check_address(address: str) -> None:
    """Refuse what gRPC would look up for seconds, or ask at port 443, before it fails.

    Args:
      address: host:port, with an IPv6 host in brackets, or a name of another scheme of gRPC's.

    Raises:
      ConfigError: it is neither.
    """
    named = _HOST_AND_PORT.fullmatch(address)
    if named and 0 < int(named["port"]) <= _HIGHEST_PORT:
        return
    if not named and address.startswith(_SCHEMES):
        return
    raise ConfigError(
        f"{address!r} is no server address: give HOST:PORT of the gRPC port, as in 127.0.0.1:8500, "
        "without http:// and without a path"
    )
