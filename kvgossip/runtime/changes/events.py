"""Events: what happened to the cluster lately, in the eyes of this node: changes of members, the
exchanges that it began, findings of the doctor that came or went. For those who look on, and for
those who come a little later.

Laws
- The newest EVENTS_MAX are kept, whoever listens, and nothing else is: a listener has a number, and
  reads on from there. So one that is slow costs nothing, and sees by the numbers what it missed.
- To tell is to put a small dictionary into a ring. Members and exchanges change some times a
  second at most, so no write and no rumor pays for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from kvgossip.protocol.effect import Exchanged, MemberChanged
from kvgossip.protocol.model.now import Now

EVENTS_MAX = 512


class ClusterEvent(NamedTuple):
    """`kind`: member, exchange or finding; `document`: ready for JSON."""

    number: int
    kind: str
    document: dict[str, Any]


class Events:
    """Of one life of a node, which `site` names."""

    def __init__(self, site: int) -> None:
        self._life = f"{site:016x}"
        self._kept: deque[ClusterEvent] = deque(maxlen=EVENTS_MAX)
        #: the number of the newest one; 0 before the first
        self.newest = 0
        #: true once the life is over
        self.closed = False
        #: called when there is another one, in a dictionary for their order
        self._listeners: dict[Callable[[], None], None] = {}

    # -- events come ------------------------------------------------------------------------------

    def publish(self, kind: str, now: Now, **document: Any) -> None:
        self.newest += 1
        self._kept.append(ClusterEvent(self.newest, kind, {"at_ms": now.wall_ms, **document}))
        self._wake_all()

    def close(self) -> None:
        """The life is over: there will be no others."""
        self.closed = True
        self._wake_all()

    def _wake_all(self) -> None:
        for wake in list(self._listeners):
            wake()

    def member_changed(self, effect: MemberChanged, now: Now) -> None:
        """Another state or address, a new name, or one that was forgotten."""
        old, new = effect.old, effect.new
        if old and new and (old.state, old.address) == (new.state, new.address):
            return
        member = new or old
        if member is not None:
            self.publish(
                "member",
                now,
                pool=effect.pool.value,
                name=member.name,
                state=new.state.name.lower() if new else "forgotten",
                was=old.state.name.lower() if old else None,
                address=str(member.address),
                accuser=member.accuser or None,
            )

    def exchanged(self, effect: Exchanged, now: Now) -> None:
        self.publish(
            "exchange",
            now,
            pool=effect.peer.pool.value,
            peer=effect.peer.name,
            took_ms=round(1000 * effect.took_s, 3),
            bytes=effect.found_bytes,
            trips=effect.trips,
            found=effect.found,
            outcome="completed" if effect.completed else "cut",
        )

    # -- and are read -----------------------------------------------------------------------------

    @property
    def oldest(self) -> int:
        """The number of the oldest one that is kept; of the next one, where none is."""
        return self.newest - len(self._kept) + 1

    def after(self, number: int) -> Iterator[ClusterEvent]:
        """Those that are kept and came after that one, oldest first."""
        return islice(self._kept, max(0, number + 1 - self.oldest), None)

    def cursor(self, number: int) -> str:
        """What a listener comes back with that has seen all until this one."""
        return f"{self._life}-{number}"

    def number_in(self, cursor: str) -> int | None:
        """The number in such a cursor; None for one of another life."""
        life, _, number = cursor.rpartition("-")
        if life != self._life or not (number.isascii() and number.isdigit() and len(number) < 20):
            return None
        return min(int(number), self.newest)

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call this whenever there is another one, and at the end: it may only take a note for a
        later turn. Returns what ends that; harmless when repeated."""
        self._listeners[wake] = None
        return lambda: self._listeners.pop(wake, None)
