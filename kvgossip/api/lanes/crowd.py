"""Crowd: the connections of each client, so that no client has them all, and so that those which
ask for nothing make room.

A client is an address; of IPv6 a network of 64 bits, since whoever has one address there has them
all. Everybody behind a proxy, and all who come by a unix socket, are one client: raise
`http_client_connections_max` there.

To close a connection that asks for nothing is what HTTP lets a server do at any time; its client
opens another one when it has something to ask. So keep-alive costs nobody else an answer.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Generic, Protocol, TypeVar

from kvgossip.api.access.client import Client

Thing = TypeVar("Thing")

LOOKS_MAX = 64
"""So many are looked at for one that is idle, the oldest first: a new connection costs no walk
through a thousand."""


def household(address: str) -> str:
    """Whose an address is."""
    if ":" not in address:
        return address
    network = ipaddress.IPv6Network((address.partition("%")[0], 64), strict=False)
    return str(network.network_address)


class Guest(Protocol):
    """A connection, as far as it matters here."""

    client: Client
    due_s: float

    def is_idle(self) -> bool:
        """True if its client asks for nothing, and waits for nothing."""


AnyGuest = TypeVar("AnyGuest", bound=Guest)


class Crowd(Generic[AnyGuest]):
    """Connections by client. `client_max`: how many one client may have."""

    def __init__(self, client_max: int) -> None:
        self._client_max = client_max
        self._of: dict[str, dict[AnyGuest, None]] = {}

    def add(self, connection: AnyGuest) -> None:
        self._of.setdefault(household(connection.client.address), {})[connection] = None

    def remove(self, connection: AnyGuest) -> None:
        name = household(connection.client.address)
        mine = self._of[name]
        del mine[connection]
        if not mine:
            del self._of[name]

    def excess_of(self, newcomer: AnyGuest) -> int:
        """How many connections its client has beyond the last that it may have; below 0 there is
        room for this one."""
        return len(self._of.get(household(newcomer.client.address), ())) - self._client_max

    def idle_of(self, newcomer: AnyGuest) -> AnyGuest | None:
        """One of the same client that is idle."""
        return _longest_idle(self._of.get(household(newcomer.client.address), ()))

    def idle_of_most(self) -> AnyGuest | None:
        """An idle one of the client that has most."""
        most: dict[AnyGuest, None] = max(self._of.values(), key=len, default={})
        return _longest_idle(most)


class Tally(Generic[Thing]):
    """Whose each thing is, and how many of them each client has."""

    def __init__(self) -> None:
        self._owners: dict[Thing, str] = {}
        self._counts: Counter[str] = Counter()

    def add(self, thing: Thing, client: Client) -> None:
        owner = self._owners[thing] = household(client.address)
        self._counts[owner] += 1

    def remove(self, thing: Thing) -> None:
        """Harmless when repeated."""
        owner = self._owners.pop(thing, None)
        if owner is not None:
            self._counts[owner] -= 1
            if not self._counts[owner]:
                del self._counts[owner]

    def count_of(self, client: Client) -> int:
        return self._counts[household(client.address)]


def _longest_idle(connections: Iterable[AnyGuest]) -> AnyGuest | None:
    looks = islice(connections, LOOKS_MAX)
    return min((each for each in looks if each.is_idle()), key=_due, default=None)


def _due(connection: Guest) -> float:
    return connection.due_s
