"""The two sockets of a node, UDP and TCP on one port, and the addresses that they can reach."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from functools import lru_cache

from kvgossip.config import Address
from kvgossip.errors import ConfigError

SocketAddress = tuple[str, int] | tuple[str, int, int, int]

ANY_HOSTS = ("0.0.0.0", "::")
PORT_ATTEMPTS = 32
BACKLOG = 128
RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
_MAPPED = "::ffff:"


@dataclass(frozen=True, slots=True)
class Sockets:
    """Both bound to `address`, whose host is numeric and whose port is never 0. `dual`: an IPv6
    socket that reaches IPv4 too."""

    tcp: socket.socket
    udp: socket.socket
    address: Address
    family: socket.AddressFamily
    dual: bool

    def close(self) -> None:
        self.tcp.close()
        self.udp.close()

    @property
    def lookup_family(self) -> socket.AddressFamily:
        """The family of addresses worth looking up: those that the socket can reach."""
        return socket.AF_UNSPEC if self.dual else self.family

    def reach(self, to: Address) -> SocketAddress | None:
        """How the UDP socket names a numeric address; None when it cannot reach it."""
        four = ":" not in to.host
        if self.family == socket.AF_INET:
            return (to.host, to.port) if four else None
        if four:
            return (_MAPPED + to.host, to.port, 0, 0) if self.dual else None
        # the kernel wants the number of the interface behind the % of a link-local address
        zone = to.host.partition("%")[2]
        return (to.host, to.port, 0, _interface(zone) if zone else 0)


def is_numeric(host: str) -> bool:
    """True if this is an IP address, and no DNS name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def plain(name: SocketAddress) -> Address:
    """A socket's name as an Address; an IPv4 peer of an IPv6 socket by its IPv4 address. Asked for
    every datagram, of which most come from a few."""
    host = name[0]
    return Address(
        host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host, name[1]
    )


def bind(address: Address) -> Sockets:
    """Both sockets on `address`, whose host is numeric; port 0 takes one that is free for both.
    Raises ConfigError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    for attempt in range(PORT_ATTEMPTS):
        try:
            return _bind(address, family)
        except OSError as error:
            # a free TCP port whose UDP twin is taken: there are others
            if address.port or error.errno != errno.EADDRINUSE or attempt == PORT_ATTEMPTS - 1:
                raise _explained(address, error) from None
    raise AssertionError("the last attempt returns or raises")


def _bind(address: Address, family: socket.AddressFamily) -> Sockets:
    dual = address.host == "::"
    tcp = socket.socket(family, socket.SOCK_STREAM)
    udp = socket.socket(family, socket.SOCK_DGRAM)
    try:
        for one in (tcp, udp):
            one.setblocking(False)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        # a restart must not wait for links of its former life; for UDP the same option would let
        # two nodes share a port
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        tcp.bind((address.host, address.port))
        tcp.listen(BACKLOG)
        bound = plain(tcp.getsockname())
        udp.bind((address.host, bound.port))
    except BaseException:
        tcp.close()
        udp.close()
        raise
    return Sockets(tcp, udp, bound, family, dual)


def _explained(address: Address, error: OSError) -> ConfigError:
    why = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"the gossip address {address} is in use",
            "stop the program that has it, or choose another port; 0 takes a free one",
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"this user may not listen on port {address.port}",
            "choose a port from 1024 on, or allow it: ports below need root, or "
            "CAP_NET_BIND_SERVICE",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        hint = (
            "listen on an address of this machine or on 0.0.0.0; where others reach it is "
            "another parameter, `advertise`"
        )
        return ConfigError(f"the gossip address {address} does not belong to this machine", hint)
    if error.errno == errno.EPERM:
        return ConfigError(
            f"no permission to listen on the gossip address {address}",
            "ask whoever guards this machine, by a firewall or a sandbox, or choose another "
            "address",
        )
    return ConfigError(
        f"cannot listen on the gossip address {address}: {why}",
        "choose another address to listen on",
    )


def _interface(zone: str) -> int:
    try:
        return int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    except OSError:
        return 0
