"""The express lane: GET, HEAD, PUT and DELETE of one key, without a task, a future or aiohttp's
request for each of them.

Every connection starts here. Requests that are not plainly one of those four are handed over to
aiohttp (aiohttp_lane.py), and from then on the connection stays there. The lane knows how requests
arrive and how answers leave; their meaning is in keys.py, the same for both lanes. A connection is
in one phase at a time, and phase.py has all changes from one to another.

Laws
- The parser is fed one head at a time, up to its empty line, and then the body by its length, so
  that the bytes behind it are known exactly. Anything but one head is refused.
- A request that is handed over is written anew from its parsed head, and not passed on as it came:
  two parsers never read the same bytes differently, so no request can hide in another (request
  smuggling).
- A header that HEADERS (request_head.py) does not name is handed over: no route can be forgotten.
  So is what the doors (access/) do not let pass: the other lane says why.
- Answers leave in the order of the requests, and those of one turn together (answer_queue.py).
- The bytes that a client makes wait here are bounded: one head, one body, PIPELINE_MAX answers or
  WAITING_BYTES_MAX of them; then nothing is read. Long answers take turns (turns.py).
- A value changes only after its whole body has arrived. A client that goes away earlier has changed
  nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import cast

from kvgossip.api.access.client import NOBODY, client_of
from kvgossip.api.access.doors import Doors
from kvgossip.api.http.body import late_body
from kvgossip.api.http.errors import RequestError, head_too_long, late_head, no_method, not_http
from kvgossip.api.http.response import Answers
from kvgossip.api.keys import Keys, failure_of
from kvgossip.api.lanes.answer_queue import AnswerQueue, WaitingAnswer
from kvgossip.api.lanes.connections import LINGER_S, Connections, OtherLane, Outflow, Welcome
from kvgossip.api.lanes.overload import refusal_of
from kvgossip.api.lanes.phase import ENDING, LISTENING, REQUESTING, TRANSITIONS, Event, Phase
from kvgossip.api.lanes.request_head import FIRST_BYTES, HEAD_END, RequestParser
from kvgossip.api.lanes.single_key import reply_to
from kvgossip.api.tls.link import FirstLane
from kvgossip.config import Config
from kvgossip.errors import RemoteError

REQUESTS_A_TURN = 64

# Looked up for every request: a global name is found faster than a member of an enumeration.
_IDLE, _HEAD, _BODY = Phase.IDLE, Phase.HEAD, Phase.BODY


class Lane(FirstLane):
    """One connection."""

    __slots__ = (
        "_answers", "_choked", "_config", "_connections", "_data", "_doors", "_ended",
        "_handed_over", "_keys", "_loop", "_missing", "_other", "_outflow", "_phase", "_queue",
        "_reading", "_request", "_resting", "_transport", "client", "due_s",
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        keys: Keys,
        answers: Answers,
        connections: Connections,
        other: OtherLane,
        doors: Doors,
    ) -> None:
        self._config, self._keys, self._answers, self.client = config, keys, answers, NOBODY
        self._connections, self._other, self._doors = connections, other, doors
        self._loop = asyncio.get_running_loop()
        self._request = RequestParser(doors.takes_host)
        self._queue = AnswerQueue(answers, connections)
        self._outflow = Outflow(connections)
        #: None before the connection is made, and once it is lost or the other lane's.
        self._transport: asyncio.Transport | None = None
        self._phase = Phase.NEW
        #: Bytes that have arrived and were not looked at yet, or not taken.
        self._data = b""
        #: So many bytes of a body are still to come: between two turns in the phase BODY alone.
        self._missing = 0
        #: The head that the other lane is to begin with.
        self._handed_over = b""
        #: True if the client takes nothing of what is sent to it.
        self._choked = False
        #: True if other connections get their turn before this one goes on.
        self._resting = False
        #: True if the client will send no more.
        self._ended = False
        #: True if the transport reads, False if it is paused.
        self._reading = True
        #: The time at which it is overdue, by the clock of Connections.
        self.due_s = connections.head_due_s

    def _step(self, event: Event) -> None:
        self._phase = TRANSITIONS[self._phase][event]

    # -- called by the transport -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no class of asyncio's
        self._transport = self._queue.transport = cast(asyncio.Transport, transport)
        self.client = client_of(transport)
        self._request.express = not self._doors.bars(self.client)
        self._outflow.of(self.client)
        welcome = self._connections.opened(self)
        if welcome is Welcome.SERVED:
            self._step(Event.WELCOMED)
        elif welcome is Welcome.REFUSED:
            self._step(Event.REFUSED)
            self.due_s = self._connections.now_s + LINGER_S
        else:
            self._step(Event.CUT_OFF)
            # uvloop forgets to close what is aborted while it is being made
            self._loop.call_soon(self.abort)

    def data_received(self, data: bytes) -> None:
        if self._phase in LISTENING:
            self._data = self._data + data if self._data else data
            self._serve()
        elif self._phase is Phase.UNWELCOME:
            self._end(refusal_of(self._answers, data))

    def eof_received(self) -> bool:
        """A client that will send no more still gets its answers; then, or if there are none, the
        connection is closed."""
        self._ended = True
        self._queue.flush()
        held = (self._data or self._resting) and self._phase not in ENDING and self._is_held()
        return bool(self._queue.waiting or held)

    def pause_writing(self) -> None:
        assert self._transport is not None
        self._choked = True
        self.due_s = self._outflow.choked(self._transport, self._connections.now_s)

    def resume_writing(self) -> None:
        self._choked = False
        self._outflow.freed()
        self._rest()

    def connection_lost(self, error: Exception | None) -> None:
        self._step(Event.LOST)
        self._transport = None
        self._queue.close()
        self._outflow.freed()
        self._data = b""
        self._request.close()
        self._connections.closed(self)

    # -- called by a TlsLink ----------------------------------------------------------------------

    def secured(self) -> None:
        if self._transport is not None:
            self.client = client_of(self._transport)

    def refuse(self, error: RequestError) -> None:
        if self._phase not in ENDING:
            self._refuse(error)

    # -- called by Connections --------------------------------------------------------------------

    def is_idle(self) -> bool:
        busy = self._data or self._queue.waiting or self._choked or self._resting
        return self._phase is _IDLE and not busy

    def overdue(self) -> bool:
        assert self._transport is not None
        if self._choked and self._outflow.moves(self._transport):
            self.due_s = self._outflow.choked(self._transport, self._connections.now_s)
            return False
        if self._resting:
            # its client has just taken something
            return False
        if self._choked or self._phase in ENDING:
            self.abort()
        elif self._phase is Phase.UNWELCOME:
            self._end(refusal_of(self._answers, b""))
        elif self._phase is _BODY:
            self._refuse(late_body())
        elif self._phase is _HEAD:
            self._refuse(late_head())
        else:
            self._close()
        return True

    def finish(self) -> None:
        # anything that is under way ends in _serve or _settle, which look at `stopping`
        busy = self._data or self._queue.waiting or not self._reading
        if (self._phase is _IDLE and not busy) or self._phase is Phase.UNWELCOME:
            self._close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- requests ---------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Serve the requests that have arrived, as far as it goes."""
        data, at, last = self._data, 0, REQUESTS_A_TURN
        size = len(data)
        while at < size and not self._is_held():
            if not last:
                # others get their turn first
                self._rest()
                break
            last -= 1
            if not self._missing:
                taken = self._take_head(data, at)
                if not taken:
                    break
                at += taken
            if self._missing:
                at += self._take_body(data, at)
        self._data = b"" if at == size or self._phase in ENDING else data[at:]
        busy = self._data or self._queue.waiting or self._choked or self._resting or self._ended
        if self._phase is _IDLE and self._reading and not busy:
            self.due_s = self._connections.idle_due_s
        else:
            self._wait()

    def _is_held(self) -> bool:
        """True if the next request must wait, or will never be served."""
        return self._choked or self._resting or self._queue.full or self._phase not in REQUESTING

    def _take_head(self, data: bytes, at: int) -> int:
        """How many bytes were taken: 0 where the head is not complete yet."""
        empty_line = data.find(HEAD_END, at)
        whole = empty_line >= 0
        end = empty_line + len(HEAD_END) if whole else len(data)
        if end - at > self._config.http_head_bytes_max:
            self._refuse(head_too_long(self._config.http_head_bytes_max))
            return 0
        if not whole:
            if data[at] not in FIRST_BYTES:
                self._refuse(no_method(data[at]))
            return 0
        if self._phase is _HEAD:
            self._step(Event.HEAD_ENDED)
        try:
            if self._request.read_head(data[at:end]):
                self._begin()
        except RemoteError as error:
            self._refuse(not_http(str(error)))
        return end - at

    def _begin(self) -> None:
        """The head is here: take the body, answer, or hand over."""
        length = self._request.plain_length(self._config.value_bytes_max)
        if length is None:
            self._step(Event.LEFT)
            self._handed_over = self._request.rewritten()
        elif length:
            self._missing = length
        else:
            self._answer()

    def _take_body(self, data: bytes, at: int) -> int:
        part = data[at : at + self._missing]
        if part:
            self._request.read_body(part)
            self._missing -= len(part)
        if not self._missing:
            if self._phase is _BODY:
                self._step(Event.BODY_ENDED)
            self._answer()
        elif self._phase is _IDLE:
            # most bodies arrive with their heads, and nobody waits for them
            self._step(Event.BODY_BEGAN)
            self.due_s = self._connections.body_due_s(self._missing)
        return len(part)

    def _answer(self) -> None:
        started_s = time.perf_counter()
        request, connections = self._request, self._connections
        reply = reply_to(request, self._keys, self.client, self._outflow, self._answers)
        if reply is None:
            self._resting = True
            return connections.turns.wait(self._answer_late)
        connections.counts["express"] += 1
        answer, durable, _ = reply
        last = connections.stopping or request.is_last
        head_only = request.method == b"HEAD"
        if durable is None:
            connections.requests.observe("kv", answer.status, time.perf_counter() - started_s)
        data = answer.render(not last, head_only=head_only)
        ending = Event.CLOSES if last else None
        if durable is None and not self._queue.waiting:
            self._write(data, ending)
        else:
            status = answer.status
            self._wait_for(WaitingAnswer(data, durable, ending, head_only, status, started_s))

    def _answer_late(self) -> None:
        """It is the turn of a long answer."""
        if self._transport is not None and not self._transport.is_closing():
            self._answer()
        self._go_on()

    # -- answers ----------------------------------------------------------------------------------

    def _wait_for(self, answer: WaitingAnswer) -> None:
        if answer.ending is not None:
            self._step(Event.LAST_QUEUED)
        self._queue.add(answer, self._settle)

    def _write(self, data: bytes, ending: Event | None) -> None:
        self._queue.write(data)
        if ending is None:
            return
        assert self._transport is not None
        if ending is Event.CLOSES:
            self.due_s = self._connections.now_s + self._connections.stall_s
            self._close()
            return
        # closed at once, with bytes unread, the kernel would reset it: the answer might be lost
        self._step(ending)
        self._queue.flush()
        self.due_s = self._connections.now_s + LINGER_S
        self._transport.write_eof()

    def _close(self) -> None:
        """Close it, once all that was written has left."""
        assert self._transport is not None
        self._step(Event.CLOSES)
        self._queue.flush()
        self._transport.close()

    def _settle(self, durable: asyncio.Future[None]) -> None:
        """A write has reached the disk, or failed to: send the answers whose turn it is."""
        # also where the client has gone: asyncio complains of failures that nobody has seen
        failure_of(durable)
        while (answer := self._queue.take()) is not None:
            self._write(*answer)
        if self._transport is not None and not self._transport.is_closing():
            if self._data:
                self._serve()
            self._wait()

    def _refuse(self, error: RequestError) -> None:
        """The last answer here, a refusal of its client; all that it sent since is dropped."""
        self._connections.counts[f"refused_{error.status}"] += 1
        self._missing = 0
        self._end(self._answers.failure(error, "", "").render(False, head_only=False))

    def _end(self, farewell: bytes) -> None:
        if self._queue.waiting:
            self._wait_for(WaitingAnswer(farewell, None, Event.LINGERS))
        else:
            self._write(farewell, Event.LINGERS)

    # -- waiting ----------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait for the next event in this phase, and note until when."""
        if self._transport is None or self._phase in ENDING:
            return
        if self._phase is Phase.LEAVING and not self._queue.waiting:
            return self._pass_on(self._transport)
        self._read(not self._is_held())
        if self._choked:
            return
        if self._queue.waiting or self._resting:
            self.due_s = math.inf
        elif self._ended or (self._connections.stopping and not (self._missing or self._data)):
            self._close()
        elif self._phase is _IDLE and self._data:
            self._step(Event.HEAD_BEGAN)
            self.due_s = self._connections.head_due_s
        elif self._phase is _IDLE:
            self.due_s = self._connections.idle_due_s

    def _pass_on(self, transport: asyncio.Transport) -> None:
        self._read(True)
        self._queue.flush()
        self._step(Event.TAKEN_OVER)
        self._connections.counts["handed_over"] += 1
        self._transport = None
        self._queue.close()
        self._request.close()
        self._other.take_over(self, transport, self._handed_over + self._data, at_end=self._ended)

    def _rest(self) -> None:
        if not self._resting:
            self._resting = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._resting = False
        if self._transport is not None and not self._transport.is_closing():
            self._serve()

    def _read(self, wanted: bool) -> None:
        if wanted != self._reading and self._transport is not None:
            self._reading = wanted
            step = self._transport.resume_reading if wanted else self._transport.pause_reading
            step()
