"""Onlookers: the connections of those who hear of events, after their response has begun.

An Onlooker has no queue: it has the number of the last event that it was sent, and takes the next
ones from the ring that the node keeps (runtime/changes/events.py) whenever its client is ready.

Laws
- No onlooker holds more than one portion beyond the high-water mark of its socket.
- One that is slow is not cut off: it is told how many events it missed, and goes on with the oldest
  that is kept. One that takes nothing at all for HEARTBEAT_S is cut off.
- The node does not wait for onlookers: they are written to in a later turn of the event loop.
- Who may not see events any more, since the tokens have changed, is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec

from kvgossip.api.access.client import Client, client_of
from kvgossip.api.access.rights import Caller, Right
from kvgossip.api.lanes.crowd import Tally
from kvgossip.api.routes.sse import FAREWELL_S, FORBIDDEN, HEARTBEAT_S, STOPS
from kvgossip.api.routes.watch_event import beat, greeting, notice
from kvgossip.runtime.changes.events import ClusterEvent, Events

PORTION = 64
"""Events that are written at a time: some ten kilobytes."""
RECONNECT = "reconnect with the id of the last event"


class Onlooker(asyncio.Protocol):
    """One of them. `seen`: the number of the last event that it has."""

    def __init__(
        self,
        audience: Audience,
        events: Events,
        seen: int,
        transport: asyncio.Transport,
        caller: Caller | None,
    ) -> None:
        #: None: everybody may look on
        self.caller = caller
        self._audience, self._events, self._seen = audience, events, seen
        self._transport = transport
        #: true while its client is slow, and while a turn is to come
        self._choked = self._due = False
        #: how many bytes waited for the client at the last sign of life; -1: it has taken some
        self._stuck_bytes = -1
        self._ends = events.listen(self.wake)

    # -- called by the transport ------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked, self._stuck_bytes = False, -1
        self.wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._ends()
        self._audience.left(self)

    # -- called by the events and the audience ----------------------------------------------------

    def wake(self) -> None:
        if not self._due and not self._choked:
            self._due = True
            self._audience.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._due = False
        events = self._events
        if self._choked or self._transport.is_closing():
            return
        if self._seen >= events.newest:
            return self.end(*STOPS) if events.closed else None
        missed = events.oldest - 1 - self._seen
        if missed > 0:
            self.missed(missed)
            self._seen = events.oldest - 1
        portion = list(islice(events.after(self._seen), PORTION))
        self._seen = portion[-1].number
        self._transport.write(b"".join(_block(each, events) for each in portion))
        self.wake()

    def missed(self, count: int | None) -> None:
        """Tell it that so many events are gone; None: nobody knows how many."""
        missed = msgspec.json.encode({"missed": count})
        self._transport.write(b"event: missed\ndata: %s\n\n" % missed)

    def beat(self) -> None:
        """A sign of life; or the end, where the client shows none."""
        if not self._choked:
            return self._transport.write(beat(None))
        waiting_bytes = self._transport.get_write_buffer_size()
        if waiting_bytes == self._stuck_bytes:
            return self.end(f"nothing was read for {HEARTBEAT_S:.0f} s", RECONNECT)
        self._stuck_bytes = waiting_bytes

    def end(self, error: str, hint: str) -> None:
        """Tell the client why, and close."""
        self._ends()
        if not self._transport.is_closing():
            self._transport.write(notice("cut", error, hint))
            self._transport.close()
            self._audience.loop.call_later(FAREWELL_S, self._transport.abort)


class Audience:
    """All onlookers of a server. `on_beat`: called at each sign of life while there are any."""

    def __init__(self, on_beat: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self._onlookers: dict[Onlooker, None] = {}
        self._tally: Tally[Onlooker] = Tally()
        self._on_beat = on_beat
        self._heartbeat: asyncio.TimerHandle | None = None
        #: set when the last one has gone
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._onlookers)

    def count_of(self, client: Client) -> int:
        """How many are this client's."""
        return self._tally.count_of(client)

    def admit(
        self,
        events: Events,
        cursor: str | None,
        transport: asyncio.Transport,
        caller: Caller | None,
    ) -> None:
        """From now on this connection, whose response has begun, is an onlooker's. `cursor`: None:
        from now on; of another life: all that is kept."""
        known = events.newest if cursor is None else events.number_in(cursor)
        seen = events.oldest - 1 if known is None else known
        onlooker = Onlooker(self, events, seen, transport, caller)
        self._onlookers[onlooker] = None
        self._tally.add(onlooker, client_of(transport))
        transport.set_protocol(onlooker)
        transport.write(greeting(events.cursor(seen)))
        if known is None and cursor != ALL:
            onlooker.missed(None)
        if self._heartbeat is None:
            self._heartbeat = self.loop.call_later(HEARTBEAT_S, self._beat)
        onlooker.wake()

    def left(self, onlooker: Onlooker) -> None:
        self._tally.remove(onlooker)
        self._onlookers.pop(onlooker, None)
        if not self._onlookers:
            self._empty.set()

    def review(self) -> None:
        """Other tokens hold."""
        for each in list(self._onlookers):
            if each.caller is not None and not each.caller.may(Right.METRICS):
                each.end(FORBIDDEN[1], "")

    def _beat(self) -> None:
        self._heartbeat = None
        if self._onlookers:
            self._heartbeat = self.loop.call_later(HEARTBEAT_S, self._beat)
            self._on_beat()
        for each in list(self._onlookers):
            each.beat()

    async def close(self) -> None:
        """End all; returns when their connections are closed."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._empty.clear()
        for each in list(self._onlookers):
            each.end(*STOPS)
        if self._onlookers:
            await self._empty.wait()


ALL = "0"
"""The cursor of an onlooker that has seen nothing: it wants all that is kept."""


def _block(event: ClusterEvent, events: Events) -> bytes:
    fields: tuple[Any, ...] = (
        events.cursor(event.number).encode(),
        event.kind.encode(),
        msgspec.json.encode(event.document),
    )
    return b"id: %s\nevent: %s\ndata: %s\n\n" % fields
