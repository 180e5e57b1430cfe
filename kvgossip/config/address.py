"""Addresses of sockets, their text, and the ports that kvgossip uses."""

from __future__ import annotations

import ipaddress
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
_LABEL = re.compile(r"(?!-)[^\s.:/@\x00-\x2c]{1,63}(?<!-)")
"""A part of a name. Names may have letters of any language, and underscores."""
NAME_CHARS_MAX = 253
_ALL_HOSTS = {"", "0.0.0.0", "::"}


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
    if (found["host"] or "").isdigit() and not found["port"]:
        raise ConfigError(f"{text!r} is a port alone", f"write HOST:{text.strip()}")
    return Address(found["six"] or found["host"] or "", port)


def unreachable(host: str) -> str:
    """Why nobody is reached at this host, whoever asks and whatever runs; empty where that cannot
    be said. A name may be looked up in vain, too: it is no problem of the text."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return _no_name(host)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_unspecified:
        return f"{host} stands for all addresses of the machine that reads it"
    if ip.is_multicast:
        return f"{host} is a multicast address"
    if ip == ipaddress.IPv4Address("255.255.255.255"):
        return f"{host} is the broadcast address"
    if ip.version == 4 and (ip.is_reserved or int(ip) >> 24 == 0):
        return f"{host} is an address that no machine has"
    return ""


def _no_name(host: str) -> str:
    labels = host.removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(host) > NAME_CHARS_MAX:
        return f"{host!r} is neither a name of DNS nor an IP address"
    if labels[-1].isdigit():
        return f"{host} is no IP address"
    return ""


def overlap(one: Address, other: Address) -> bool:
    """True if two sockets of one kind cannot listen on both."""
    hosts = {one.host, other.host}
    return one.port == other.port != 0 and (len(hosts) == 1 or bool(hosts & _ALL_HOSTS))


ANYWHERE = Address("0.0.0.0", GOSSIP_PORT)
WAN_ANYWHERE = Address("0.0.0.0", WAN_PORT)
