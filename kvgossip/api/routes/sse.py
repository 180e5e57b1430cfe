"""Streams: the connections of watchers after their response has begun. A few hundred bytes each,
without a task and without a queue.

Once the head of the response is written, a connection leaves aiohttp and belongs to a Stream, which
writes and hears nothing. Streams that want the same (see Form) share a Channel, which encodes what
comes once for all of them.

A stream is *live* while it takes what its channel writes. It falls *behind* when its client is
slow, and at its start when there is something to catch up with; then it takes batches from its
Follower whenever the client is ready for more, until it is live again.

Laws
- No stream holds more than CHUNK_BYTES beyond the high-water mark of its socket, however slow its
  client is.
- A client that is so slow that the feed has gone past it, or that takes nothing at all for
  HEARTBEAT_S, is cut off, and learns why.
- A write on the node does not wait for streams: they are written to in later turns of the event
  loop, some of them in each, whatever channels they are of (turns.py).
- A stream that is opened before the node has settled is *held*: it gets signs of life, and events
  only then. An EventSource would give up for ever at a 503.
- An idle stream shows signs of life, with the newest cursor: so a client can tell a quiet node from
  a lost one, and a node a lost client.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from kvgossip.api.access.client import Client, client_of
from kvgossip.api.access.rights import Caller
from kvgossip.api.lanes.crowd import Tally
from kvgossip.api.routes.held import Held
from kvgossip.api.routes.turns import Turns
from kvgossip.api.routes.watch_event import (
    NEVER,
    Form,
    beat,
    blocks,
    greeting,
    may_see,
    notice,
    waiting,
)
from kvgossip.errors import WatchLaggedError
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.follower import CHUNK_BYTES, Follower, event_of
from kvgossip.runtime.changes.stream import State
from kvgossip.runtime.changes.watchers import Arrival

HEARTBEAT_S = 15.0
FAREWELL_S = 2.0
"""How long a client that is cut off may take to read why."""
STOPS = ("the node stops", "reconnect to another node, or to this one later")
FORBIDDEN = ("forbidden", "the tokens have changed: the one of this watcher may not read this now")


class Stream(asyncio.Protocol):
    """One watcher. Make it with Hub.open."""

    __slots__ = (
        "_channel", "_choked", "_follower", "_half", "_live", "_stuck_bytes", "_transport",
        "caller",
    )  # fmt: skip

    def __init__(
        self,
        channel: Channel,
        follower: Follower,
        transport: asyncio.Transport,
        caller: Caller | None,
    ) -> None:
        self._channel, self._follower, self._transport = channel, follower, transport
        #: Who watches; None: everybody may.
        self.caller = caller
        #: True while it takes what its channel writes.
        self._live = False
        #: True while its client is slow.
        self._choked = False
        #: True while it knows that more follows of what changed together.
        self._half = False
        #: How many bytes waited for the client at the last sign of life; -1: it has taken some.
        self._stuck_bytes = -1

    # -- called by the transport ------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._choked, self._live = True, False

    def resume_writing(self) -> None:
        self._choked = False
        self._stuck_bytes = -1
        self.go_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._live = False
        self._channel.leave(self)
        self._channel.hub.closed(self)

    # -- called by the channel and the hub --------------------------------------------------------

    @property
    def form(self) -> Form:
        return self._channel.form

    def go_on(self) -> None:
        """Take batches until the client is slow, or the stream is live."""
        if self._choked or self._live or self._transport.is_closing():
            return
        try:
            events = self._follower.take()
        except WatchLaggedError:
            return self.cut(
                "lagged", "the watcher did not keep up: what it has not read is no longer kept"
            )
        feed, more = self._channel.feed, not self._follower.caught_up
        if events:
            self._transport.write(blocks(events, self._channel.form, feed, more=more))
        elif self._half and not more:
            self._transport.write(beat(feed.cursor(self._follower.at)))
        self._half = more
        if self._choked:
            return
        if self._follower.caught_up:
            self._live = True
        else:
            self._channel.hub.turns.add(self._going_on())

    def _going_on(self) -> Iterator[None]:
        self.go_on()
        yield

    def tell(self, first: int, last: int, data: bytes, *, more: bool) -> None:
        """The changes from index `first` to `last` of the channel's topic, encoded."""
        follower = self._follower
        if not self._live or follower.at >= last:
            return
        if follower.at >= first:
            # it came while these were under way, and has some of them
            return self.fall_behind()
        follower.at, self._half = last, more
        self._transport.write(data)

    def fall_behind(self) -> None:
        if self._live:
            self._live = False
            self._channel.hub.turns.add(self._going_on())

    def beat(self, until: int, with_cursor: bytes, without: bytes) -> None:
        """A sign of life, which tells that there was nothing until this index; or the end, where
        the client shows none."""
        if self._live:
            is_news = self._follower.at < until
            self._follower.at = max(self._follower.at, until)
            self._transport.write(with_cursor if is_news else without)
        elif self._choked and not self._transport.is_closing():
            waiting_bytes = self._transport.get_write_buffer_size()
            if waiting_bytes == self._stuck_bytes:
                return self.cut("stalled", f"the watcher has read nothing for {HEARTBEAT_S:.0f} s")
            self._stuck_bytes = waiting_bytes

    def cut(self, reason: str, error: str) -> None:
        """Tell the client why, and close. Counted by reason."""
        self._channel.hub.cut_off[reason] += 1
        self.end(
            notice(
                "cut", error, "reconnect with the id of the last event, or without one for a resync"
            )
        )

    def end(self, farewell: bytes) -> None:
        self._live = False
        self._channel.leave(self)
        if not self._transport.is_closing():
            self._transport.write(farewell)
            self._transport.close()
            self._channel.hub.loop.call_later(FAREWELL_S, self._transport.abort)


class Channel:
    """The streams of one form, fed by one subscription."""

    def __init__(self, hub: Hub, feed: Feed, form: Form) -> None:
        self.hub, self.feed, self.form = hub, feed, form
        self._streams: dict[Stream, None] = {}
        self._queue = feed.subscribe(form.topic, self._wake)
        #: True from the first change that came until all streams have it.
        self._busy = False

    def join(self, stream: Stream) -> None:
        self._streams[stream] = None

    def leave(self, stream: Stream) -> None:
        """Harmless when repeated."""
        if self._streams.pop(stream, stream) is None and not self._streams:
            self.feed.watches.remove(self._queue)
            self.hub.forget(self)

    def _wake(self) -> None:
        if not self._busy:
            self._busy = True
            if self.form.coalesce_s:
                self.hub.loop.call_later(self.form.coalesce_s, self.hub.turns.add, self._tell_all())
            else:
                self.hub.turns.add(self._tell_all())

    def _tell_all(self) -> Iterator[None]:
        try:
            while self._queue.arrivals:
                arrivals = self._batch()
                more = bool(self._queue.arrivals)
                events = [event_of(arrival, self.form.topic) for arrival in arrivals]
                data = blocks(events, self.form, self.feed, more=more)
                for stream in list(self._streams):
                    stream.tell(arrivals[0].at, arrivals[-1].at, data, more=more)
                    yield
        finally:
            self._busy = False
        if self._queue.state is State.LAGGED:
            # more came within one turn than a queue may hold: let each take it from the feed
            self._queue = self.feed.subscribe(self.form.topic, self._wake)
            for stream in list(self._streams):
                stream.fall_behind()
                yield
        elif self._queue.state is State.CLOSED:
            for stream in list(self._streams):
                stream.end(notice("cut", *STOPS))
                yield

    def _batch(self) -> list[Arrival]:
        found: list[Arrival] = []
        size = 0
        while self._queue.arrivals and size <= CHUNK_BYTES:
            found.append(self._queue.arrivals.popleft())
            size += len(found[-1].changed.new_record)
        return found

    def beat(self) -> Iterator[None]:
        """A sign of life to every stream; with a cursor, where nothing is under way."""
        without = beat(None)
        until, with_cursor = (
            (0, without) if self._busy else (self.feed.index, beat(self.feed.cursor()))
        )
        for stream in list(self._streams):
            stream.beat(until, with_cursor, without)
            yield


class Hub:
    """All streams of a server."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        #: How many streams were cut off, by reason.
        self.cut_off: Counter[str] = Counter()
        self._channels: dict[Form, Channel] = {}
        #: With those that are held.
        self._streams: dict[Stream | Held, asyncio.Transport] = {}
        self._tally: Tally[Stream | Held] = Tally()
        #: Set when the last stream has gone.
        self._empty = asyncio.Event()
        self.turns = Turns(self.loop)
        #: True once the server stops.
        self._closing = False
        self._heartbeat: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def count_of(self, client: Client) -> int:
        """How many of them are this client's."""
        return self._tally.count_of(client)

    def _add(self, stream: Stream | Held, transport: asyncio.Transport) -> None:
        self._tally.add(stream, client_of(transport))
        self._streams[stream] = transport

    def _remove(self, stream: Stream | Held) -> bool:
        """True if it was here."""
        self._tally.remove(stream)
        return self._streams.pop(stream, None) is not None

    def open(
        self,
        feed: Feed,
        follower: Follower,
        form: Form,
        transport: asyncio.Transport,
        caller: Caller | None = None,
    ) -> None:
        """From now on this connection, whose response has begun, belongs to a stream."""
        channel = self._channels.get(form)
        if channel is None or channel.feed is not feed:
            channel = self._channels[form] = Channel(self, feed, form)
        stream = Stream(channel, follower, transport, caller)
        self._add(stream, transport)
        channel.join(stream)
        transport.set_protocol(stream)
        transport.write(greeting(NEVER if follower.resyncs else feed.cursor(follower.at)))
        if self._heartbeat is None:
            self._heartbeat = self.loop.call_later(HEARTBEAT_S, self._beat)
        stream.go_on()
        if self._closing:
            stream.end(notice("cut", *STOPS))

    def hold(
        self,
        transport: asyncio.Transport,
        begin: Callable[[asyncio.Transport], None],
        form: Form,
        caller: Caller | None,
    ) -> None:
        """As `open`, but nothing comes before `release`, which calls `begin`."""
        held = Held(self.closed, begin, form, caller)
        self._add(held, transport)
        transport.set_protocol(held)
        transport.write(waiting())
        if self._heartbeat is None:
            self._heartbeat = self.loop.call_later(HEARTBEAT_S, self._beat)

    def release(self) -> None:
        """The node has settled."""
        self.turns.add(self._releasing())

    def _releasing(self) -> Iterator[None]:
        for held, transport in self._held():
            if self._remove(held) and not transport.is_closing():
                held.begin(transport)
            yield

    def review(self) -> None:
        """Other tokens hold: streams end whose clients may not see their keys any more."""
        self.turns.add(self._reviewing())

    def _reviewing(self) -> Iterator[None]:
        for stream, transport in list(self._streams.items()):
            if may_see(stream.caller, stream.form):
                pass
            elif isinstance(stream, Stream):
                stream.cut(*FORBIDDEN)
            elif not transport.is_closing():
                self.cut_off[FORBIDDEN[0]] += 1
                transport.write(notice("cut", FORBIDDEN[1], ""))
                transport.close()
            yield

    def _held(self) -> list[tuple[Held, asyncio.Transport]]:
        return [
            (stream, transport)
            for stream, transport in self._streams.items()
            if isinstance(stream, Held)
        ]

    def closed(self, stream: Stream | Held) -> None:
        self._remove(stream)
        if not self._streams:
            self._empty.set()

    def forget(self, channel: Channel) -> None:
        if self._channels.get(channel.form) is channel:
            del self._channels[channel.form]

    async def close(self) -> None:
        """Ends all streams; returns when their connections are closed."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._closing = True
        self._empty.clear()
        for stream, transport in list(self._streams.items()):
            if isinstance(stream, Stream):
                stream.end(notice("cut", *STOPS))
            else:
                transport.write(notice("cut", *STOPS))
                transport.close()
        while self._streams:
            try:
                async with asyncio.timeout(FAREWELL_S):
                    await self._empty.wait()
            except TimeoutError:
                for transport in list(self._streams.values()):
                    transport.abort()

    def _beat(self) -> None:
        self._heartbeat = self.loop.call_later(HEARTBEAT_S, self._beat) if self._streams else None
        for _, transport in self._held():
            transport.write(beat(None))
        self.turns.add(step for channel in list(self._channels.values()) for step in channel.beat())
