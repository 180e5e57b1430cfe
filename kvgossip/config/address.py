"""Addresses of sockets, their text, and the ports that kvgossip uses."""

from __future__ import annotations

import re
from typing import NamedTuple

from kvgossip.errors import ConfigError

GOSSIP_PORT = 7481
HTTP_PORT = 7480
WAN_PORT = 7483

_HINT = "write HOST:PORT, for example 10.0.0.5:7481 or [::1]:7481"
_TEXT = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[^\s:\[\]/@]*))(?::(?P<port>[0-9]{1,5}))?"
)


class Address(NamedTuple):
    """The host and the port of a socket.

    `host` is a DNS name or an IP address, empty where it is not known yet; `port` is 0 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int) -> Address:
    """`HOST`, `HOST:PORT`, `:PORT` or `[IPV6]:PORT` as an Address.

    Raises ConfigError that says how an address is written.
    """
    found = _TEXT.fullmatch(text.strip())
    if found is None or not text.strip():
        raise ConfigError(f"{text!r} is not an address", _HINT)
    port = int(found["port"]) if found["port"] else default_port
    if port > 65535:
        raise ConfigError(f"{text!r} is not an address: port {port} is over 65535", _HINT)
    return Address(found["six"] or found["host"] or "", port)


ANYWHERE = Address("0.0.0.0", GOSSIP_PORT)
WAN_ANYWHERE = Address("0.0.0.0", WAN_PORT)
