"""Room: a bound on the bytes of long answers that wait for their clients, of all of them together.

A client that takes its answer slowly makes it wait here. Where there is no room for one more, its
client gets 503, and `Retry-After`: a node that took them all on would end for want of memory. The
only answer that waits may be longer than the bound, since what is stored can be read.
"""

from __future__ import annotations

from kvgossip.api.http.errors import RETRY_AFTER, RequestError

LONG_BYTES = 64 * 1024
"""What is not longer takes no room: each connection has its own bounds."""


class Room:
    """`held`: how many bytes wait now. `refused`: how many answers found no room."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.held = self.refused = 0


class Lease:
    """What one answer holds of the room, until nobody holds this."""

    __slots__ = ("_room", "held")

    def __init__(self, room: Room) -> None:
        self._room = room
        self.held = 0

    def grow(self, count: int) -> None:
        """Raises RequestError(503), and takes nothing, where so many bytes more are too many."""
        room = self._room
        if room.held > self.held and room.held + count > room.bytes_max:
            room.refused += 1
            raise RequestError(
                503,
                "too many long answers wait for their clients",
                f"http_answers_bytes_max is {room.bytes_max}; try again, or ask for less",
                RETRY_AFTER,
            )
        room.held += count
        self.held += count

    def __del__(self) -> None:
        self._room.held -= self.held
