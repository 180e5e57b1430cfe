"""Connections: all connections of clients, whichever lane they are on; how many there may be, and
how long each may keep us waiting.

Laws
- There are at most `http_connections_max`, and of one client at most `http_client_connections_max`
  (crowd.py). One more takes the place of one that asks for nothing, of the client that has most; if
  there is none, it is refused with 503 and closed (overload.py): most of them before they are
  connections of ours, up to REFUSALS_MAX of them at a time by their lane. So nobody is refused
  because others keep connections that they do not use.
- The last files of the process are not for clients: links and the disk need them.
- Every connection has a moment at which it is overdue, whatever it does: one that asks nothing, a
  head or a body that does not arrive, a client that takes none of what it asked for. So nobody
  holds a connection by doing nothing, or almost nothing.
- A request costs no timer: one sweep looks at them all, and its clock is all that they read. So a
  moment may be missed by SWEEP_S.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from kvgossip.api.access.client import Client
from kvgossip.api.http.body import BODY_BYTES_PER_S_MIN, body_patience_s
from kvgossip.api.http.request_metrics import Requests
from kvgossip.api.http.room import Lease, Room
from kvgossip.api.lanes.crowd import Crowd, Guest
from kvgossip.api.lanes.turns import Turns
from kvgossip.config import Config

SWEEP_S = 1.0
LINGER_S = 2.0
"""How long a client that was refused may take to read why."""
REFUSALS_MAX = 64
REFUSALS_OF_ONE_MAX = 16
"""So many connections of one client are refused in words at a time; more are cut off."""


class Welcome(Enum):
    SERVED = "connections_served"
    REFUSED = "connections_refused"
    CUT_OFF = "connections_cut_off"


class Connection(Guest, Protocol):
    """A connection as its lane shows it. `due_s`: the time at which it is overdue, by the clock of
    Connections."""

    def overdue(self) -> bool:
        """Close it, or answer its client why it is closed; False if it moves, and is to be looked
        at again."""

    def finish(self) -> None:
        """The server stops: close it, at once or after what is under way."""

    def abort(self) -> None:
        """Close it now, whatever that loses."""


class OtherLane(Protocol):
    """Takes the connections that the express lane does not serve."""

    def take_over(
        self, lane: Connection, transport: asyncio.Transport, data: bytes, *, at_end: bool
    ) -> None:
        """`data`: the bytes to be served, starting with a head. `at_end`: the client will send no
        more."""


class Outflow:
    """The bytes that wait until a client takes them: they hold room, and have to move, at least at
    BODY_BYTES_PER_S_MIN."""

    __slots__ = ("_lease", "_room", "_stall_s", "_unread", "turns")

    def __init__(self, connections: Connections) -> None:
        self._room, self._stall_s = connections.room, connections.stall_s
        #: When long answers leave.
        self.turns = connections.turns
        self._lease = Lease(self._room)
        self._unread = 0

    def of(self, client: Client) -> None:
        """From now on it is known who the client is."""
        self._lease = Lease(self._room, client.address)

    def take(self, count: int) -> None:
        """A long answer of so many bytes leaves now. Raises RequestError(503) where there is no
        room for it."""
        self._lease.check(count)
        self.turns.spend(count)

    def choked(self, transport: asyncio.WriteTransport, now_s: float) -> float:
        """The client's buffers are full: when to look again."""
        self._unread = transport.get_write_buffer_size()
        self._lease.hold(self._unread)
        return now_s + self._stall_s

    def freed(self) -> None:
        """The client has taken all, or has gone."""
        self._lease.hold(0)

    def moves(self, transport: asyncio.WriteTransport) -> bool:
        """True if it has taken enough since then."""
        return (
            transport.get_write_buffer_size() <= self._unread - BODY_BYTES_PER_S_MIN * self._stall_s
        )


class Connections:
    """All of them. Call `close` at the end."""

    def __init__(self, config: Config) -> None:
        #: The fates of connections and of their requests, by name.
        self.counts: Counter[str] = Counter()
        self.requests = Requests()
        #: Those that came in beyond the files that clients may use, each in the place of another
        #: one; by whichever door (overload.py).
        self.beyond: list[socket.socket] = []
        #: For all that clients take slowly.
        self.room = Room(config.http_answers_bytes_max)
        #: True once the server stops: every answer is the last one of its connection.
        self.stopping = False
        self._max = config.http_connections_max
        self._idle_s, self._head_s = config.http_idle_timeout_s, config.http_head_timeout_s
        #: How long a client may take nothing of what is sent to it.
        self.stall_s = config.http_body_timeout_s
        #: The clock of all connections, and when one is overdue that is idle from now on, or that
        #: begins a head now. Read once for each sweep.
        self.now_s = self.idle_due_s = self.head_due_s = 0.0
        self._sweep_s = min(SWEEP_S, self._idle_s / 4, self._head_s / 4, self.stall_s / 4)
        self._open: dict[Connection, None] = {}
        self._crowd: Crowd[Connection] = Crowd(config.http_client_connections_max)
        #: Connections that have kept something back until the end of this turn.
        self._to_flush: list[Callable[[], None]] = []
        #: Set while there are no connections.
        self._empty = asyncio.Event()
        self._empty.set()
        self._loop = asyncio.get_running_loop()
        self.turns = Turns(self._loop)
        self._sweeper: asyncio.TimerHandle | None = None
        self._read_clock()

    def start(self) -> None:
        """Sweep from now on, until `close`."""
        self._sweep()

    def __len__(self) -> int:
        return len(self._open)

    def body_due_s(self, length: int) -> float:
        """When a body of so many bytes is overdue that begins now."""
        return self.now_s + body_patience_s(length, self.stall_s)

    def has_room(self) -> bool:
        """True if one more may come in; where there are too many, one that is idle is closed for
        it."""
        return len(self._open) < self._max or self.makes_room()

    def makes_room(self) -> bool:
        """True if one that is idle is closed for another."""
        return self._closes(self._crowd.idle_of_most())

    @property
    def may_refuse(self) -> bool:
        """True if a lane may still refuse one more, while there is no room for it."""
        return len(self._open) < self._max + REFUSALS_MAX

    def opened(self, connection: Connection) -> Welcome:
        """Counts a new connection. By its welcome it may ask something, or is refused, as there
        are too many, or is cut off."""
        welcome = self._welcome(connection)
        self.counts[welcome.value] += 1
        if welcome is not Welcome.CUT_OFF:
            self._open[connection] = None
            self._crowd.add(connection)
            self._empty.clear()
        return welcome

    def _welcome(self, connection: Connection) -> Welcome:
        if not self.may_refuse:
            return Welcome.CUT_OFF
        if len(self._open) >= self._max:
            return Welcome.REFUSED
        excess = self._crowd.excess_of(connection)
        if excess < 0 or self._closes(self._crowd.idle_of(connection)):
            return Welcome.SERVED
        self.counts["connections_of_one_client_refused"] += 1
        return Welcome.REFUSED if excess < REFUSALS_OF_ONE_MAX else Welcome.CUT_OFF

    def _closes(self, idle: Connection | None) -> bool:
        """True if there is one to be closed."""
        if idle is None:
            return False
        self.counts["connections_made_room"] += 1
        idle.finish()
        # its place is free from now on, and not in the turn in which its transport ends
        self.closed(idle)
        return True

    def moved(self, old: Connection, new: Connection) -> None:
        """The connection goes on under another object."""
        del self._open[old]
        self._open[new] = None
        self._crowd.remove(old)
        self._crowd.add(new)

    def at_end_of_turn(self, flush: Callable[[], None]) -> None:
        """Have what a connection has kept back sent together with what all others have."""
        if not self._to_flush:
            self._loop.call_soon(self._flush)
        self._to_flush.append(flush)

    def _flush(self) -> None:
        waiting, self._to_flush = self._to_flush, []
        for flush in waiting:
            flush()

    def closed(self, connection: Connection) -> None:
        if connection in self._open:
            del self._open[connection]
            self._crowd.remove(connection)
        if not self._open:
            self._empty.set()

    async def close(self, grace_s: float) -> None:
        """Returns when all are closed: those that are idle now, the others when they have finished,
        or after `grace_s`."""
        self.stopping = True
        for connection in list(self._open):
            connection.finish()
        try:
            async with asyncio.timeout(grace_s):
                await self._empty.wait()
        except TimeoutError:
            for connection in list(self._open):
                connection.abort()
            await self._empty.wait()
        finally:
            if self._sweeper is not None:
                self._sweeper.cancel()

    def _sweep(self) -> None:
        now_s = self._read_clock()
        for connection in [connection for connection in self._open if connection.due_s <= now_s]:
            self.counts["connections_overdue"] += connection.overdue()
        self._sweeper = self._loop.call_later(self._sweep_s, self._sweep)

    def _read_clock(self) -> float:
        now_s = self.now_s = self._loop.time()
        self.idle_due_s, self.head_due_s = now_s + self._idle_s, now_s + self._head_s
        return now_s
