"""Room: a bound on the bytes of long answers that wait for their clients, of all of them together.

A client that takes its answer slowly makes it wait here. Where there is no room for one more, its
client gets 503, and `Retry-After`: a node that took them all on would end for want of memory. The
only answer that waits may be longer than the bound, since what is stored can be read. One client
has a share of the room, and no more, so that it does not take the answers of all others.
"""

from __future__ import annotations

from collections import Counter

from kvgossip.api.http.errors import RETRY_AFTER, RequestError

SHARES = 4
"""One client may hold one of so many parts."""
LONG_BYTES = 64 * 1024
"""What is not longer takes no room: each connection has its own bounds."""


class Room:
    """`held`: how many bytes wait now. `refused`: how many answers found no room."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.held = self.refused = 0
        #: how many wait for each client of whom some do
        self._held_for: Counter[str] = Counter()

    def is_short_of(self, count: int, lease: Lease) -> bool:
        """True if so many bytes more, for this lease, are too many."""
        if self.held > lease.held and self.held + count > self.bytes_max:
            return True
        held = self._held_for[lease.client] if lease.client else 0
        return held > lease.held and held + count > self.bytes_max // SHARES

    def add(self, count: int, client: str) -> None:
        self.held += count
        if client:
            self._held_for[client] += count
            if not self._held_for[client]:
                del self._held_for[client]


class Lease:
    """What is held of the room, until nobody holds this; for `client`, where it is for one."""

    __slots__ = ("_room", "client", "held")

    def __init__(self, room: Room, client: str = "") -> None:
        self._room = room
        self.client = client
        self.held = 0

    def check(self, count: int) -> None:
        """Raises RequestError(503) where so many bytes more are too many."""
        room = self._room
        if room.is_short_of(count, self):
            room.refused += 1
            raise RequestError(
                503,
                "too many long answers wait for their clients",
                f"http_answers_bytes_max is {room.bytes_max}, and a {SHARES}th of it for one "
                "client; read what you have asked for, try again, or ask for less",
                RETRY_AFTER,
            )

    def grow(self, count: int) -> None:
        """Hold so many bytes more. Raises RequestError(503), and takes nothing, where they are too
        many."""
        self.check(count)
        self.hold(self.held + count)

    def hold(self, count: int) -> None:
        """Hold so many bytes from now on, whatever the room says: they are there."""
        self._room.add(count - self.held, self.client)
        self.held = count

    def __del__(self) -> None:
        self.hold(0)
