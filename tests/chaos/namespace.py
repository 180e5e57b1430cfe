"""Network namespaces: sockets in them, and what all networks of agents can do."""

from __future__ import annotations

import socket
from typing import Protocol

from tests.netns.router import inside


class Net(Protocol):
    """Agents are numbered from 1. What is cut and lost is so until `heal`."""

    def namespace_of(self, number: int) -> str: ...

    def host(self, number: int) -> str: ...

    def cut(self, source: int, target: int) -> None:
        """Drops what `source` sends to `target`, and not what comes back."""

    def loss(self, share: float) -> None: ...

    def mtu(self, octets: int) -> None: ...

    def heal(self) -> None: ...


def cut_both(net: Net, one: int, other: int) -> None:
    net.cut(one, other)
    net.cut(other, one)


def cut_off(net: Net, number: int, count: int) -> None:
    """Nothing passes between that agent and the others of 1 to `count`."""
    for other in range(1, count + 1):
        if other != number:
            cut_both(net, number, other)


def socket_in(namespace: str) -> socket.socket:
    """A TCP socket of that namespace that does not block."""
    with inside(namespace):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
