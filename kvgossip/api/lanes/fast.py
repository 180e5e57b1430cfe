"""The express lane: GET, HEAD, PUT and DELETE of one key, without a task, a future or aiohttp's
request for each of them.

Every connection starts here. What is not plainly one of those four requests is handed over to
aiohttp (aiohttp_lane.py), and from then on the connection stays there. The lane knows how requests
arrive and how answers leave; what they mean is in kv.py, the same for both lanes.

Laws
- The parser is fed one head at a time, up to its empty line, and then the body by its length, so
  that what follows is known to the byte. What turns out to be anything but one head is refused.
- What is handed over is written anew from what was parsed, and not passed on as it came: two
  parsers never read the same bytes differently, so no request can hide in another (request
  smuggling).
- A header that HEADERS does not name is a reason to hand over: a route that learns a new header
  cannot be forgotten here.
- Answers leave in the order of the requests. One that waits for the disk holds back the answers
  after it, not the requests.
- Small answers leave at the end of the turn of the loop that made them, those of one connection in
  one piece, those of all in one go. A client that is woken by the first of them finds the others,
  where answers that come one by one would wake it for each: on one core for each side, that is a
  fifth of what a request costs this one. Nothing else happens between.
- What a client makes wait here is bounded: one head, one body, PIPELINE_MAX answers or
  WAITING_BYTES_MAX of them; then nothing is read.
- A value changes only after its whole body has arrived. A client that goes away earlier has changed
  nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import NamedTuple, Protocol, cast

from kvgossip.api.http.body import body_patience_s, late_body
from kvgossip.api.http.errors import RequestError, head_too_long, not_http
from kvgossip.api.http.precondition import Condition, condition_of
from kvgossip.api.http.response import Answers
from kvgossip.api.keys import Keys, Reply, failure_of
from kvgossip.api.lanes.connections import LINGER_S, Connections, Outflow, Welcome
from kvgossip.api.lanes.overload import told_outside
from kvgossip.api.lanes.request_head import RequestParser, text_of
from kvgossip.config import Config
from kvgossip.errors import RemoteError

HEAD_END = b"\r\n\r\n"
FIRST_BYTES = b"\r\nABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What starts no request is refused at once, without waiting for the end of a head that will never
come: TLS, for example."""
METHODS = (b"GET", b"PUT", b"DELETE", b"HEAD")
HEADERS = frozenset(
    b"host connection content-length content-type if-match if-none-match user-agent accept "
    b"accept-encoding accept-language accept-charset "
    b"cache-control pragma referer dnt forwarded via x-forwarded-for x-forwarded-host "
    b"x-forwarded-proto x-real-ip x-request-id "
    b"traceparent tracestate baggage".split()
)
"""Those that the lane obeys, and those that mean nothing to this API on either lane."""
REQUESTS_A_TURN = 64
PIPELINE_MAX = 64
WAITING_BYTES_MAX = 256 * 1024
OUTBOX_ANSWERS_MAX = 16
OUTBOX_ANSWER_BYTES_MAX = 8 * 1024


class OtherLane(Protocol):
    """Takes the connections that the express lane does not serve."""

    def take_over(
        self, lane: Lane, transport: asyncio.Transport, data: bytes, *, at_end: bool
    ) -> None:
        """`data`: what is to be served, starting with a head. `at_end`: the client will send no
        more."""


class _Waiting(NamedTuple):
    """An answer that waits for the disk, or for its turn."""

    data: bytes
    durable: asyncio.Future[None] | None
    last: bool
    head_only: bool = False
    status: int = 0
    started_s: float = 0.0


class Lane(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_answers", "_choked", "_config", "_connections", "_data", "_ended", "_ending",
        "_handed_over", "_keys", "_length", "_lingers",
        "_loop", "_missing", "_other", "_outbox", "_outflow", "_partial", "_reading", "_request",
        "_resting", "_transport", "_unwelcome",
        "_waiting", "_waiting_bytes", "due_s",
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        keys: Keys,
        answers: Answers,
        connections: Connections,
        other: OtherLane,
    ) -> None:
        self._config, self._keys, self._answers, self._connections, self._other = (
            config,
            keys,
            answers,
            connections,
            other,
        )
        self._loop = asyncio.get_running_loop()
        self._request = RequestParser()
        self._outflow = Outflow(connections.stall_s)
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._missing = 0
        self._length: int | None = None
        self._handed_over: bytes | None = None
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._outbox: list[bytes] = []
        self._partial = self._choked = self._resting = self._ended = self._ending = (
            self._lingers
        ) = self._unwelcome = False
        self._reading = True
        self.due_s = connections.head_due_s

    # -- called by the transport ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no class of asyncio's
        self._transport = cast(asyncio.Transport, transport)
        welcome = self._connections.opened(self)
        if welcome is Welcome.REFUSED:
            self._unwelcome = True
            self.due_s = self._connections.now_s + LINGER_S
        elif welcome is Welcome.CUT_OFF:
            self._ending = True
            # uvloop forgets to close what is aborted while it is being made
            self._loop.call_soon(self.abort)

    def data_received(self, data: bytes) -> None:
        if self._unwelcome and not self._ending:
            self._end(told_outside(self._answers, data))
        elif not self._ending:
            self._data = self._data + data if self._data else data
            self._serve()

    def eof_received(self) -> bool:
        """A client that will send no more still gets its answers; then, or if there are none, the
        connection is closed."""
        self._ended = True
        self._flush()
        return bool(self._waiting or (self._data and not self._ending and self._is_held()))

    def pause_writing(self) -> None:
        assert self._transport is not None
        self._choked = True
        self.due_s = self._outflow.choked(self._transport, self._connections.now_s)

    def resume_writing(self) -> None:
        self._choked = False
        self._rest()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        self._outbox.clear()
        self._data = b""
        self._request.close()
        self._connections.closed(self)

    # -- called by Connections --------------------------------------------------------------------

    def overdue(self) -> bool:
        assert self._transport is not None
        if self._choked and self._outflow.moves(self._transport):
            self.due_s = self._outflow.choked(self._transport, self._connections.now_s)
            return False
        if self._choked or self._ending:
            self.abort()
        elif self._unwelcome:
            self._end(told_outside(self._answers, b""))
        elif self._missing:
            self._refuse(late_body())
        elif self._partial:
            self._refuse(
                RequestError(
                    408, "the head of the request did not arrive in time", "send it at once"
                )
            )
        else:
            self._close()
        return True

    def finish(self) -> None:
        # anything that is under way ends in _serve or _settle, which look at `stopping`
        if self._transport is not None and not (
            self._missing or self._data or self._waiting or self._ending
        ):
            self._close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- requests ---------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Serve what has arrived, as far as it goes."""
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
            if self._missing and at < size:
                at += self._take_body(data, at)
        self._data = b"" if self._ending or at == size else data[at:]
        if (
            at == size
            and self._reading
            and not (
                self._missing
                or self._waiting
                or self._handed_over
                or self._ended
                or self._is_held()
            )
        ):
            self.due_s = self._connections.idle_due_s
        else:
            self._wait()

    def _is_held(self) -> bool:
        """Whether the next request must wait, or will never be served."""
        return (
            self._choked
            or self._resting
            or self._ending
            or self._handed_over is not None
            or len(self._waiting) >= PIPELINE_MAX
            or self._waiting_bytes >= WAITING_BYTES_MAX
        )

    def _take_head(self, data: bytes, at: int) -> int:
        """How many bytes were taken: 0 where the head is not complete yet."""
        end = data.find(HEAD_END, at) + len(HEAD_END)
        whole = end >= at + len(HEAD_END)
        if (end if whole else len(data)) - at > self._config.http_head_bytes_max:
            self._refuse(head_too_long(self._config.http_head_bytes_max))
            return 0
        if not whole:
            if data[at] not in FIRST_BYTES:
                self._refuse(not_http("it starts with no method"))
            return 0
        self._partial = False
        try:
            if self._request.read_head(data[at:end]):
                self._begin()
        except RemoteError as error:
            self._refuse(not_http(str(error)))
        return end - at

    def _begin(self) -> None:
        """The head is here: wait for the body, answer, or hand over."""
        length = self._plain_length()
        if length is None:
            self._handed_over = self._request.rewritten()
        elif length:
            self._missing = length
            self.due_s = self._connections.now_s + body_patience_s(
                length, self._config.http_body_timeout_s
            )
        else:
            self._answer()

    def _plain_length(self) -> int | None:
        """The length of the body of a request that this lane serves; None: it does not."""
        request = self._request
        if not request.repeated:
            self._length = self._length_told()
        length, target, method = self._length, request.target, request.method
        if (
            length is None
            or method not in METHODS
            or not target.startswith(b"/kv/")
            or b"?" in target
            or b"#" in target
        ):
            return None
        return (
            length if length <= (self._config.value_bytes_max if method == b"PUT" else 0) else None
        )

    def _length_told(self) -> int | None:
        """What the header lines say of it; None: they say what this lane does not understand."""
        request = self._request
        found = request.found
        if (
            len(found) != len(request.headers)
            or not found.keys() <= HEADERS
            or request.version != "1.1"
            or b"host" not in found
        ):
            return None
        if found.get(b"connection", b"close").lower() not in (b"close", b"keep-alive"):
            return None
        return int(found.get(b"content-length", b"0"))

    def _take_body(self, data: bytes, at: int) -> int:
        part = data[at : at + self._missing]
        self._request.read_body(part)
        self._missing -= len(part)
        if not self._missing:
            self._answer()
        return len(part)

    def _answer(self) -> None:
        started_s = time.perf_counter()
        request, connections = self._request, self._connections
        method, key = request.method, request.target[4:].decode()
        connections.counts["express"] += 1
        try:
            answer, durable, _ = self._do(method, key)
        except Exception as error:
            answer, durable = self._answers.failure(error, method.decode(), f"/kv/{key}"), None
        last = connections.stopping or (
            b"connection" in request.found and request.found[b"connection"].lower() == b"close"
        )
        head_only = method == b"HEAD"
        if durable is None:
            connections.requests.observe("kv", answer.status, time.perf_counter() - started_s)
        data = answer.render(not last, head_only=head_only)
        if durable is None and not self._waiting:
            self._write(data, last)
        else:
            self._queue(_Waiting(data, durable, last, head_only, answer.status, started_s))

    def _do(self, method: bytes, key: str) -> Reply:
        found = self._request.found
        condition: Condition | None = None
        body = self._request.take_body()
        if b"if-match" in found or b"if-none-match" in found:
            condition = condition_of(text_of(found, b"if-match"), text_of(found, b"if-none-match"))
        if method == b"GET":
            return Reply(self._keys.get(key, condition), None)
        if method == b"PUT":
            return self._keys.put(key, body, text_of(found, b"content-type"), condition)
        if method == b"DELETE":
            return self._keys.delete(key, condition)
        return Reply(self._keys.get(key, condition), None)

    # -- answers ----------------------------------------------------------------------------------

    def _queue(self, answer: _Waiting) -> None:
        self._waiting.append(answer)
        self._waiting_bytes += len(answer.data)
        self._ending = answer.last
        if answer.durable is not None:
            answer.durable.add_done_callback(self._settle)

    def _write(self, data: bytes, last: bool) -> None:
        assert self._transport is not None
        self._outbox.append(data)
        if (
            not last
            and len(self._outbox) < OUTBOX_ANSWERS_MAX
            and len(data) < OUTBOX_ANSWER_BYTES_MAX
        ):
            if len(self._outbox) == 1:
                self._connections.at_end_of_turn(self._flush)
            return
        self._flush()
        if not last:
            return
        self._ending = True
        if not self._lingers:
            self.due_s = self._connections.now_s + self._connections.stall_s
            self._close()
            return
        # closed at once, with bytes of the client unread, the kernel would reset the connection,
        # and the answer might be lost with it
        self.due_s = self._connections.now_s + LINGER_S
        self._transport.write_eof()

    def _flush(self) -> None:
        """Send what was kept back in this turn."""
        if self._outbox and self._transport is not None:
            data = self._outbox[0] if len(self._outbox) == 1 else b"".join(self._outbox)
            self._outbox.clear()
            self._transport.write(data)

    def _close(self) -> None:
        """Close it, once what was written has left."""
        assert self._transport is not None
        self._flush()
        self._transport.close()

    def _settle(self, durable: asyncio.Future[None]) -> None:
        """A write has reached the disk, or failed to: send the answers whose turn it is."""
        # looked at also where the client has gone: asyncio complains of failures that nobody has
        # seen
        failure_of(durable)
        while self._waiting and self._transport is not None:
            answer = self._waiting[0]
            if answer.durable is not None and not answer.durable.done():
                break
            self._waiting.popleft()
            self._waiting_bytes -= len(answer.data)
            self._write(self._told(answer), answer.last)
        if self._transport is not None and not self._transport.is_closing():
            if self._data:
                self._serve()
            self._wait()

    def _told(self, answer: _Waiting) -> bytes:
        """What the client is told once the outcome is known."""
        if answer.durable is None:
            return answer.data
        error = failure_of(answer.durable)
        failed = None if error is None else self._answers.failure(error, "a write to", "/kv/")
        status = answer.status if failed is None else failed.status
        self._connections.requests.observe("kv", status, time.perf_counter() - answer.started_s)
        return (
            answer.data
            if failed is None
            else failed.render(not answer.last, head_only=answer.head_only)
        )

    def _refuse(self, error: RequestError) -> None:
        """The last answer of this connection, because of what its client did; all that it sent
        since is dropped."""
        self._connections.counts[f"refused_{error.status}"] += 1
        self._missing, self._partial = 0, False
        self._end(self._answers.failure(error, "", "").render(False, head_only=False))

    def _end(self, farewell: bytes) -> None:
        self._ending = self._lingers = True
        if self._waiting:
            self._queue(_Waiting(farewell, None, True))
        else:
            self._write(farewell, True)

    # -- waiting ----------------------------------------------------------------------------------

    def _wait(self) -> None:
        """See to what this connection waits for now, and how long it may."""
        if self._ending or self._transport is None:
            return
        if self._handed_over is not None and not self._waiting:
            self._pass_on(self._transport)
            return
        self._read(not self._is_held())
        if self._choked:
            return
        if self._waiting or self._resting:
            self.due_s = math.inf
        elif self._ended or (self._connections.stopping and not (self._missing or self._data)):
            self._close()
        elif self._data and not self._partial:
            self._partial = True
            self.due_s = self._connections.head_due_s
        elif not (self._data or self._missing):
            self.due_s = self._connections.idle_due_s

    def _pass_on(self, transport: asyncio.Transport) -> None:
        assert self._handed_over is not None
        self._read(True)
        self._flush()
        self._connections.counts["handed_over"] += 1
        self._transport = None
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
        if wanted == self._reading or self._transport is None:
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
