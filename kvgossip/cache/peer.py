"""The other end of a Unix socket: whose process it is, and when that has ended.

The end of the connection is not enough to see a process end: a child that it forked has a copy of
every descriptor, so the connection stays open. A descriptor of the process itself (pidfd, Linux)
does not depend on that. Where the system has none, and for a process in another container, the end
of the connection has to do.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from kvgossip.errors import ConfigError

if TYPE_CHECKING:
    from asyncio import BaseTransport

_CREDENTIALS = struct.Struct("3i")


class Peer(NamedTuple):
    """`pid` is 0 where the system does not tell it."""

    pid: int
    user: int


def peer_of(connection: socket.socket) -> Peer:
    """Who has opened the other end. Raises ConfigError where that is another user."""
    if not hasattr(socket, "SO_PEERCRED"):
        # the modes of the socket and of its folder have kept others out
        return Peer(0, os.geteuid())
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(credentials)
    if user != os.geteuid():
        raise ConfigError(
            f"the other end of the socket belongs to the user {user}, and this process to "
            f"{os.geteuid()}",
            "let all processes of the cache run as one user, or give each user a data_dir",
        )
    return Peer(pid, user)


@contextmanager
def socket_of(transport: BaseTransport) -> Iterator[socket.socket]:
    """The socket of a transport, as one of the standard library's: not every loop gives that."""
    descriptor = transport.get_extra_info("socket").fileno()
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        yield connection


def shut(connection: socket.socket) -> None:
    """End it for both sides, also where a child of this process has a copy of it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def process_of(peer: Peer) -> int | None:
    """A descriptor that can be read once the process has ended; None: there is none. Raises
    ConnectionError where it has ended already."""
    if not peer.pid or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(peer.pid)
    except ProcessLookupError:
        raise ConnectionError(f"the process {peer.pid} has ended") from None
    except OSError:
        return None
