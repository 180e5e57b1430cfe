"""Client: who is at the other end of a connection. Made once a connection, not once a request."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any, NamedTuple

UNIX = "unix"
"""The address of every client of a unix socket."""


class Client(NamedTuple):
    """Who is at the other end of one connection."""

    address: str
    """Its IP address without a port, UNIX for one of a unix socket, empty if it is gone already."""
    is_local: bool
    """True if it is a process of this machine: by a unix socket, or from a loopback address.
    Another address of this machine is none: whoever forwards a port may use it."""
    certificate: str
    """The name in the TLS certificate that it has shown, and that was verified; empty without."""


NOBODY = Client("", False, "")
"""Before there is a connection."""


def client_of(transport: asyncio.BaseTransport) -> Client:
    """The client of a transport that is connected."""
    own: socket.socket | None = transport.get_extra_info("socket")
    if own is not None and own.family == socket.AF_UNIX:
        return Client(UNIX, True, "")
    peer = transport.get_extra_info("peername")
    address = _plain(peer[0]) if isinstance(peer, tuple) and peer else ""
    name = _name_in(transport.get_extra_info("peercert"))
    return Client(address, _is_loopback(address), name)


def _plain(host: str) -> str:
    """The address without the dress that a socket for both families gives one of IPv4."""
    if ":" not in host:
        return host
    ip = ipaddress.ip_address(host.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _name_in(certificate: Any) -> str:
    """The common name of a certificate, as ssl shows one that was verified: a dictionary, empty if
    it was not."""
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return ""
