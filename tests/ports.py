"""Ports that are known before anybody listens on them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from kvgossip.config import Address


@contextmanager
def held_port() -> Iterator[Address]:
    """A free port of this machine that no other test gets meanwhile, though a node that names it
    may listen there.

    The socket that holds it does not listen, so whoever dials it before is refused; and it may
    share the port with a node's, for both have SO_REUSEADDR.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield Address(*holder.getsockname())
