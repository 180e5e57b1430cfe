"""The general lane: aiohttp's connections, for every request that the express lane (fast.py) leaves
to them.

It is aiohttp's low-level server, without its application and its router. Both lanes share what is
elsewhere: the answers, the limits, the clock of all connections; here is the code that makes
aiohttp keep to them.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import EMPTY_PAYLOAD, StreamReader, http_exceptions, web

from kvgossip.api.access.client import Client
from kvgossip.api.http.errors import head_too_long, not_http
from kvgossip.api.http.request_target import escape_target
from kvgossip.api.http.response import Answers
from kvgossip.api.lanes.connections import LINGER_S, Connection, Connections, Outflow
from kvgossip.config import Config

log = logging.getLogger("kvgossip.api")


class General(web.Server):
    """All connections of the general lane."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        config: Config,
        answers: Answers,
        connections: Connections,
    ) -> None:
        super().__init__(self._answer)
        self._handler, self._config, self._answers, self._open = (
            handler,
            config,
            answers,
            connections,
        )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = await self._handler(request)
        connection = request.protocol
        # after a body that did not arrive, nobody knows where the next request starts
        if answer.status == 408 or (
            isinstance(connection, GeneralConnection) and connection.is_last()
        ):
            answer.force_close()
        return answer

    def take_over(
        self, lane: Connection, transport: asyncio.Transport, data: bytes, *, at_end: bool
    ) -> None:
        """Serve this connection from now on: `data` is the request that the express lane has left,
        and all that came after it."""
        connection = GeneralConnection(self, self._config, self._answers, self._open, lane.client)
        self._open.moved(lane, connection)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(data)
        if at_end and not connection.eof_received():
            transport.close()


class GeneralConnection(web.RequestHandler):
    """web.RequestHandler that takes paths as curl sends them, and that answers what is no HTTP with
    our JSON and without a traceback."""

    __slots__ = (
        "_answers", "_asked_upgrade", "_body", "_ended", "_in_line", "_open", "_outflow", "client",
        "due_s",
    )  # fmt: skip

    def __init__(
        self,
        server: General,
        config: Config,
        answers: Answers,
        connections: Connections,
        client: Client,
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            # a value is stored as it was sent, so nothing is decompressed (kv.py refuses encodings)
            auto_decompress=False,
            # also bounds the head of the next request, however slowly it arrives
            keepalive_timeout=config.http_idle_timeout_s,
            max_line_size=config.http_head_bytes_max,
            max_field_size=config.http_head_bytes_max,
            lingering_time=LINGER_S,
        )
        self._answers, self._open = answers, connections
        self.client = client
        self._outflow = Outflow(connections)
        self._outflow.of(client)
        self._ended = False
        #: True if a request has asked for another protocol. Its answer is the last one: what
        #: aiohttp's parser has passed over behind it is not known.
        self._asked_upgrade = False
        self._body: StreamReader = EMPTY_PAYLOAD
        #: True if the next byte that comes is of a request line, and not of a header.
        self._in_line = True
        self.due_s = math.inf

    # -- called by the transport ------------------------------------------------------------------

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._outflow.freed()
        self._open.closed(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self.due_s = self._outflow.choked(self.transport, self._open.now_s)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._outflow.freed()
        self.due_s = math.inf

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that will send no more still gets its answers, for a moment: it may as well be
        gone."""
        if self._is_idle() or not self._body.is_eof():
            return False
        self._ended = True
        self.due_s = self._open.now_s + LINGER_S
        if not self._messages:
            # also where the answer is on its way already, and did not say that it is the last one
            self.close()
        return True

    def data_received(self, data: bytes) -> None:
        if self._asked_upgrade and self._body.is_eof():
            return
        idle = self._is_idle()
        if idle and self._in_line and not data.isascii():
            data = escape_target(data)
        self._in_line = not idle or (self._in_line and b"\n" not in data)
        super().data_received(data)
        if self._messages:
            self._in_line = True
            message, self._body = self._messages[-1]
            self._asked_upgrade = getattr(message, "upgrade", False)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, http_exceptions.LineTooLong):
            answer = self._answers.failure(head_too_long(self.max_line_size), "", "")
        elif isinstance(exc, (http_exceptions.HttpProcessingError, ConnectionError)):
            log.debug("not HTTP from %s: %s", request.remote, exc)
            answer = self._answers.failure(not_http(message or ""), "", "")
        else:
            log.error("a connection failed", exc_info=exc)
            answer = self._answers.problem(
                status,
                "the node failed to answer",
                "this is a bug of kvgossip: its log has the details",
            )
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        # A body that the client broke was answered already; aiohttp meets the same error again when
        # it skips the rest.
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            log.error(*args, **kw)

    def _is_idle(self) -> bool:
        """True if the next byte starts a request: bytes of a body must never be touched."""
        return self._request_count == 0 or (self._waiter is not None and not self._waiter.done())

    def is_last(self) -> bool:
        """True if no request can follow the one that is being answered."""
        ends = self._ended or self._asked_upgrade
        return self._open.stopping or (ends and not self._messages)

    # -- called by Connections --------------------------------------------------------------------

    def is_idle(self) -> bool:
        waits = self._waiter is not None and not self._waiter.done()
        return waits and not (self._messages or self.writing_paused)

    def overdue(self) -> bool:
        if (
            self.transport is not None
            and self.writing_paused
            and not self._ended
            and self._outflow.moves(self.transport)
        ):
            self.due_s = self._outflow.choked(self.transport, self._open.now_s)
            return False
        self.abort()
        return True

    def finish(self) -> None:
        if self.is_idle():
            self.force_close()
        else:
            self.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
