"""Followers: the server beside a member, for the other processes of its host.

It lives on the loop of the node, and is built as the streams of HTTP are (api/routes/sse.py): each
connection takes its way through the feed (runtime/changes/follower.py) whenever its process is
ready for more.

Laws
- A connection holds no more than a chunk beyond the high-water mark of its socket, however slow its
  process is. When the feed has gone past it, it begins anew with all that there is.
- What changed in one turn of the loop reaches a follower as one: so a batch does. A follower that
  comes before the node has settled gets what may be read by then; where that was nothing, it gets
  everything anew at that moment.
- That the node has settled is said after all that it settled with, and that seeds are planted after
  those of them that were news: who hears it has what it is about.
- Whatever a follower says, the node goes on: nonsense ends its connection, with a word about why.
- A follower is gone when its process has ended, also where a child of it holds the socket open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Protocol, TypeVar, cast

from kvgossip.cache.line import (
    FRAME_BYTES_MAX,
    FROM_FOLLOWER,
    HELLO_BYTES_MAX,
    VERSION,
    Ask,
    Frames,
    FromFollower,
    FromMember,
    Hello,
    LineError,
    Plant,
    Planted,
    Records,
    Refused,
    Report,
    StateChanged,
    Surveyed,
    Write,
    Written,
    decoded,
    failed,
    framed,
)
from kvgossip.cache.peer import peer_of, process_of, shut, socket_of
from kvgossip.cache.record_bytes import plant, record_of
from kvgossip.cache.source import Applied, Record, Source, SourceState
from kvgossip.errors import KVGossipError, NotSettledError, WatchLaggedError
from kvgossip.protocol.model.write import Writing
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.follower import Event, Follower, Kind
from kvgossip.runtime.changes.stream import State
from kvgossip.runtime.changes.watchers import Topic, TopicQueue
from kvgossip.runtime.node import Node

FOLLOWERS_MAX = 1000
HELLO_S = 5.0
"""How long a connection may take to say hello."""
END_S = 5.0
"""How long a loop that is about to end is waited for."""
ANEW = "0"
"""A cursor from which no feed goes on: everything comes."""
Result = TypeVar("Result")

log = logging.getLogger("kvgossip")


class ServedMember(Source, Protocol):
    """What is asked of the member that is followed."""

    @property
    def node(self) -> Node: ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def followers_applied(self, applied: Sequence[Applied]) -> None:
        """What the processes that follow applied, all of them: they are counted in the answers to
        surveys. On the node's loop."""


class Followers:
    """Of one member, which is open. All but `begin` and `end` on the loop of its node."""

    def __init__(self, member: ServedMember, listener: socket.socket, state: SourceState) -> None:
        self.member, self.state = member, state
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, None] = {}

    @classmethod
    def begin(cls, member: ServedMember, listener: socket.socket, state: SourceState) -> Followers:
        """From now on processes may follow, which hear this state. On any thread but that of
        the loop, whose turn it waits for."""
        followers = cls(member, listener, state)
        try:
            asyncio.run_coroutine_threadsafe(followers._begin(), member.loop).result()
        except BaseException:
            listener.close()
            raise
        return followers

    def end(self) -> None:
        """Let all go, who then look for another member. Thread as `begin`; harmless when the loop
        has ended."""
        ended: Future[None] = Future()
        with suppress(RuntimeError, TimeoutError):
            self.member.loop.call_soon_threadsafe(self._end, ended)
            ended.result(END_S)

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Connection(self), sock=self._listener)

    def state_changed(self, state: SourceState) -> None:
        """The state is another now."""
        self.state = state
        for connection in list(self._connections):
            connection.state_changed(state)

    def _end(self, ended: Future[None]) -> None:
        if self._server is not None:
            shut(self._listener)
            self._server.close()
        for connection in list(self._connections):
            connection.end()
        ended.set_result(None)

    def add(self, connection: Connection) -> bool:
        """False where there are too many."""
        if len(self._connections) >= FOLLOWERS_MAX:
            return False
        self._connections[connection] = None
        return True

    def remove(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        if connection.applied is not None:
            self.reported()

    def reported(self) -> None:
        self.member.followers_applied(
            [each.applied for each in self._connections if each.applied is not None]
        )


class Connection(asyncio.Protocol):
    """Of one process that follows."""

    def __init__(self, followers: Followers) -> None:
        self._followers, self._member = followers, followers.member
        #: what the process said that it applied
        self.applied: Applied | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._frames = Frames(HELLO_BYTES_MAX)
        #: its way through the feed; None before its hello
        self._follower: Follower | None = None
        self._feed: Feed | None = None
        self._queue: TopicQueue | None = None
        self._topic = Topic()
        #: readable once the process has ended (see peer.py)
        self._process: int | None = None
        self._patience = self._loop.call_later(HELLO_S, self._is_late)
        #: true while the process is slow; while a turn is due; while half of something was sent
        self._choked = self._woken = self._half = False
        self._state_due = True
        #: true where the node could not say yet what there is
        self._unsure = False
        #: true once all that the node settled with was sent, or where it is what is sent first
        self._is_whole = False
        #: what the process has the node know: it is not whole yet; it is about to be planted; and
        #: the answers, which wait until what was news is sent
        self._seeds: list[Record] = []
        self._planting: asyncio.Task[None] | None = None
        self._planted: list[Planted] = []

    # -- called by the transport ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        try:
            with socket_of(self._transport) as connection:
                self._process = process_of(peer_of(connection))
        except (ConnectionError, KVGossipError) as error:
            return self._refuse(error)
        if self._process is not None:
            self._loop.add_reader(self._process, self.end)
        if not self._followers.add(self):
            self._refuse(LineError(f"{FOLLOWERS_MAX} processes follow this member already"))

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._hear(decoded(body, FROM_FOLLOWER))
        except (LineError, KVGossipError) as error:
            self._refuse(error)

    def pause_writing(self) -> None:
        self._choked = True
        if self._transport is not None and not self._transport.is_closing():
            # who does not take answers asks for no more
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._choked = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._patience.cancel()
        if self._planting is not None:
            self._planting.cancel()
        if self._feed is not None and self._queue is not None:
            self._feed.watches.remove(self._queue)
        if self._process is not None:
            self._loop.remove_reader(self._process)
            os.close(self._process)
        self._followers.remove(self)

    # -- called by Followers ----------------------------------------------------------------------

    def state_changed(self, state: SourceState) -> None:
        self._state_due = True
        if self._follower is not None:
            if self._unsure and state.settled:
                self._begin_anew()
            self._wake()

    def end(self) -> None:
        """At once, with what the socket has taken; harmless when repeated."""
        if self._transport is not None and not self._transport.is_closing():
            with socket_of(self._transport) as connection:
                shut(connection)
            self._transport.abort()

    # -- what the process says --------------------------------------------------------------------

    def _hear(self, message: FromFollower) -> None:
        if self._follower is None:
            return self._greet(message)
        match message:
            case Hello():
                raise LineError("a second hello")
            case Write(number, writes):
                asked = [Writing(*each) for each in writes]
                self._call(number, lambda: self._member.write(asked), Written)
            case Report(applied):
                self.applied = applied
                self._followers.reported()
            case Ask(number, prefix, timeout_s):
                self._call(number, lambda: self._member.survey(prefix, timeout_s), Surveyed)
            case Plant(records, more):
                self._seeds += records
                if not more:
                    self._begin_planting()

    def _greet(self, message: FromFollower) -> None:
        if not isinstance(message, Hello):
            raise LineError("no hello")
        if message.version != VERSION:
            raise LineError(f"it speaks version {message.version}, and the member {VERSION}")
        self._patience.cancel()
        self._frames.bytes_max = FRAME_BYTES_MAX
        self._topic = Topic(message.prefix)
        self._feed = feed = self._member.node.feed
        self._queue = feed.subscribe(self._topic, self._wake)
        self._is_whole = self._followers.state.settled
        self._begin_anew()
        self._go_on()

    def _call(
        self,
        number: int,
        begin: Callable[[], Future[Result]],
        answer: Callable[[int, Result], FromMember],
    ) -> None:
        try:
            future = begin()
        except KVGossipError as error:
            return self._send(failed(number, error))

        def done(future: Future[Result]) -> None:
            # a loop that is closed has nobody to answer to
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._answer, number, future, answer)

        future.add_done_callback(done)

    def _answer(
        self, number: int, future: Future[Result], answer: Callable[[int, Result], FromMember]
    ) -> None:
        try:
            self._send(answer(number, future.result()))
        except Exception as error:
            self._send(failed(number, error))

    def _begin_planting(self) -> None:
        if self._planting is not None and not self._planting.done():
            raise LineError("seeds, while those before are not planted")
        seeds, self._seeds = self._seeds, []
        self._planting = self._loop.create_task(self._plant(seeds))

    async def _plant(self, seeds: Sequence[Record]) -> None:
        try:
            await plant(self._member.node, seeds)
            answer = Planted("", "")
        except KVGossipError as error:
            answer = Planted(str(error), error.hint)
        self._planted.append(answer)
        self._wake()

    def _is_late(self) -> None:
        self._refuse(LineError(f"no hello within {HELLO_S:.0f} s"))

    def _refuse(self, error: Exception) -> None:
        hint = error.hint if isinstance(error, KVGossipError) else ""
        self._patience.cancel()
        log.warning("a process that wants to follow is refused: %s", error)
        self._send(Refused(str(error), hint or "let all processes run one version of kvgossip"))
        if self._transport is not None:
            self._transport.close()

    # -- what it hears ----------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        assert self._feed is not None
        self._unsure = False
        self._follower = Follower(self._feed, self._scan, self._topic, ANEW)

    def _scan(self, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        try:
            return self._member.node.records(prefix, after, limit)
        except NotSettledError:
            self._unsure = True
            return []

    def _wake(self) -> None:
        """Something has come: the feed has it, and nothing needs to wait here."""
        if self._queue is not None:
            self._queue.arrivals.clear()
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """The next chunk, where the process is ready for it."""
        self._woken = False
        follower, queue = self._follower, self._queue
        if follower is None or queue is None or self._transport is None or self._choked:
            return
        if queue.state is State.CLOSED:
            return self.end()
        state = self._followers.state
        if self._state_due:
            self._state_due = False
            self._send(StateChanged(state._replace(settled=state.settled and self._is_whole)))
        try:
            events = follower.take()
        except WatchLaggedError:
            self._begin_anew()
            return self._wake()
        self._tell(events, more=not follower.caught_up)
        if not follower.caught_up:
            return self._wake()
        if state.settled and not self._is_whole:
            self._send(StateChanged(state))
        self._is_whole = state.settled
        for answer in self._planted:
            self._send(answer)
        self._planted.clear()

    def _tell(self, events: Sequence[Event], *, more: bool) -> None:
        anew = bool(events) and events[0].kind is Kind.RESYNC
        sent = [event for event in events if event.record]
        if sent or anew or (self._half and not more):
            self._half = more
            records = tuple(record_of(event.key, event.record) for event in sent)
            self._send(Records(records, anew, more))

    def _send(self, message: FromMember) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(framed(message))
