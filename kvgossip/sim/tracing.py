"""The trace: a hash over every event of a run, and the last events in words.

The hash is the meaning of "one seed, one run": it covers the time, kind, node and bytes of every
input, send and fault.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from struct import Struct

from xxhash import xxh3_128

from kvgossip.errors import RemoteError
from kvgossip.protocol.wire.frame import Framing, is_of_pool

_EVENT = Struct("<dHB")
_SHOWN_CHARACTERS = 160


class Event(IntEnum):
    START = 0
    STOP = 1
    TICK = 2
    DATAGRAM = 3
    FRAME = 4
    UNREACHABLE = 5
    RESOLVED = 6
    PUT = 7
    DELETE = 8
    FAULT = 9
    SEND = 10
    SEND_FRAME = 11
    LEAVE = 12
    LOG = 13
    BATCH = 14
    MERGE = 15
    RIDE = 16
    ABSORB = 17


_CARRIES_FRAME = (Event.DATAGRAM, Event.FRAME, Event.SEND, Event.SEND_FRAME, Event.ABSORB)


class Trace:
    """`length`: how many of the last events are kept to be shown."""

    __slots__ = ("_hash", "_last", "_update", "events")

    def __init__(self, length: int) -> None:
        self._hash = xxh3_128()
        self._update: Callable[[bytes], None] = self._hash.update
        self._last: deque[tuple[float, int, Event, bytes]] = deque(maxlen=length)
        self.events = 0

    def note(self, time_s: float, number: int, event: Event, data: bytes) -> None:
        self._update(_EVENT.pack(time_s, number, event))
        self._update(data)
        self.events += 1
        self._last.append((time_s, number, event, data))

    def digest(self) -> str:
        return self._hash.hexdigest()

    def lines(self, framings: Sequence[Framing]) -> list[str]:
        """The last events, one a line: virtual seconds, node, what happened. `framings`: of all
        pools, to read their frames."""
        return [
            _line(time_s, number, event, _shown(event, data, framings))
            for time_s, number, event, data in self._last
        ]


def _line(time_s: float, number: int, event: Event, shown: str) -> str:
    return f"{time_s:12.6f}  n{number:<3} {event.name.lower():<12} {shown}"


def _shown(event: Event, data: bytes, framings: Sequence[Framing]) -> str:
    if event not in _CARRIES_FRAME:
        return data.decode("utf-8", "backslashreplace")
    framing = next((framing for framing in framings if is_of_pool(data, framing.pool)), framings[0])
    try:
        reliable, rides = event in (Event.FRAME, Event.SEND_FRAME), event is Event.ABSORB
        opened = framing.open(data, reliable=reliable, replays=True, rides=rides)
    except RemoteError as error:
        return f"{len(data)} B, {error}"
    text = " ".join(str(message) for message in opened.messages)
    more = "..." if len(text) > _SHOWN_CHARACTERS else ""
    return f"{len(data)} B  {text[:_SHOWN_CHARACTERS]}{more}"
