"""Answers: a head and a body, rendered once and written in one go. Both lanes (see fast.py) send
the same ones.

aiohttp's own Response builds a multi-dictionary, serialises it and awaits five coroutines for each
answer, which costs more than a node needs to find a value. An `Answer` keeps to the part of its
contract that the server uses: `prepare`, `write_eof` and `keep_alive`. The lines that all answers
share are rendered at most once a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import HttpVersion10, web

from kvgossip import __version__
from kvgossip.api.http.errors import head_of, hint_of, status_of
from kvgossip.api.http.room import LONG_BYTES, Lease, Room
from kvgossip.errors import KVGossipError, LocalError
from kvgossip.protocol.model.entry import check_content_type

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

log = logging.getLogger("kvgossip.api")

OCTET_STREAM = "application/octet-stream"
_STORED = "Content-Security-Policy: sandbox\r\n"
"""Of stored values: a browser runs none of their scripts."""
_GUARDS = "X-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n"
"""Of all answers: a browser takes them for nothing but what they are said to be, and shows them to
no page of another origin. If only values had the second one, the page would learn which keys there
are: it sees whether a request was answered or kept from it."""
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}


class Answer(web.StreamResponse):
    """One answer. `head` is whole header lines, each ending in CR LF: nobody escapes them again. A
    body of None has no length (304)."""

    #: How long its body is; 0 where it is short.
    long_bytes = 0
    _open: bool | None = None
    _lease: Lease | None = None

    def __init__(self, status: int, head: str, body: bytes | None) -> None:
        # Without super().__init__: it would build the dictionaries that this class exists to avoid.
        self._status = status
        self._head = head
        self._content = body
        if body is not None and len(body) > LONG_BYTES:
            self.long_bytes = len(body)

    def take_room(self, room: Room, client: str) -> None:
        """Raises RequestError(503) where this is long, and too many such answers wait already."""
        if size := self.long_bytes:
            self._lease = Lease(room, client)
            self._lease.grow(size)

    @property
    def keep_alive(self) -> bool | None:
        return self._open

    def force_close(self) -> None:
        self._open = False

    async def prepare(self, request: web.BaseRequest) -> None:
        """Writes head and body. Raises ConnectionError when the client has gone."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        if self._open is None:
            self._open = request.keep_alive
        # aiohttp keeps the answer until the connection's next request
        _held, self._lease = self._lease, None
        data = self.render(
            self._open,
            head_only=request.method == "HEAD",
            http_1_0=request.version == HttpVersion10,
        )
        # A client that sends requests and reads no answers waits here instead of filling this
        # node's memory.
        if len(data) <= LONG_BYTES:
            return await _write(request, (data,))
        self._content, view = None, memoryview(data)
        for start in range(0, len(data), LONG_BYTES):
            await _write(request, (view[start : start + LONG_BYTES],))
            await asyncio.sleep(0)

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything was written by `prepare`."""

    def render(self, keep_open: bool, *, head_only: bool, http_1_0: bool = False) -> bytes:
        """The bytes of the answer, to a client whose connection stays open after it, or does
        not."""
        head = _STATUS_LINES[self._status] + self._head
        if not keep_open:
            head += "Connection: close\r\n"
        elif http_1_0:
            head += "Connection: keep-alive\r\n"
        if self._content is None:
            return (head + "\r\n").encode("latin-1")
        head += f"Content-Length: {len(self._content)}\r\n\r\n"
        return head.encode("latin-1") + (b"" if head_only else self._content)


class Download(Answer):
    """An answer that is written in parts, as its client takes them; `parts` is closed in any case.

    It is chunked, so that a client can tell where it breaks off; to HTTP/1.0 it ends with the
    connection.
    """

    def __init__(self, head: str, parts: AsyncGenerator[bytes, None]) -> None:
        super().__init__(200, head, None)
        self._parts = parts

    async def prepare(self, request: web.BaseRequest) -> None:
        chunked = request.version != HttpVersion10
        if chunked:
            self._head += "Transfer-Encoding: chunked\r\n"
        else:
            self.force_close()
        async with aclosing(self._parts):
            await super().prepare(request)
            if request.method == "HEAD":
                return
            async for part in self._parts:
                if part:
                    chunk = (b"%x\r\n" % len(part), part, b"\r\n") if chunked else (part,)
                    await _write(request, chunk)
        if chunked:
            await _write(request, (b"0\r\n\r\n",))


async def _write(request: web.BaseRequest, parts: Sequence[bytes | memoryview]) -> None:
    """Returns when the client has taken enough for more. Raises ConnectionError when it has
    gone."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    if len(parts) == 1:
        transport.write(parts[0])
    else:
        transport.writelines(parts)
    await request.writer.drain()


class Answers:
    """Makes the answers of one node: each says whether the node is settled and how old its
    knowledge is (protocol.md section 8)."""

    def __init__(self, node: Node) -> None:
        self._node = node
        #: The lines that all answers share, and until when they may be used again.
        self._shared = ""
        #: The same, and those of most stored values.
        self._octets_lines = ""
        self._shared_until = 0.0

    def octets(self, status: int, body: bytes | None, head: str) -> Answer:
        return Answer(status, self._shared_lines() + head, body)

    def json(self, status: int, document: Any, head: str = "") -> Answer:
        """One line of JSON, with its end: a terminal shows it as a line."""
        return Answer(
            status,
            f"{self._shared_lines()}Content-Type: application/json\r\n{head}",
            msgspec.json.encode(document) + b"\n",
        )

    def value(self, value: bytes | None, content_type: str, head: str) -> Answer:
        """A stored value: whoever wrote it, it is no page of this origin."""
        shared = self._shared_lines()
        if content_type is OCTET_STREAM:
            return Answer(200, self._octets_lines + head, value)
        return Answer(200, f"{shared}Content-Type: {content_type}\r\n{_STORED}{head}", value)

    def head(self, head: str) -> str:
        """The lines that all answers share, and these."""
        return self._shared_lines() + head

    def download(self, parts: AsyncGenerator[bytes, None], head: str) -> Answer:
        return Download(self.head(head), parts)

    def failure(self, error: Exception, method: str, target: str) -> Answer:
        """The answer to an error: whose fault it is, or that it is a bug, which the log then
        explains."""
        if isinstance(error, KVGossipError):
            return self.problem(status_of(error), str(error), hint_of(error), head_of(error))
        log.error("%s %s failed", method, target, exc_info=error)
        return self.problem(
            500, "the node failed to answer", "this is a bug of kvgossip: its log has the details"
        )

    def problem(self, status: int, error: str, hint: str = "", head: str = "") -> Answer:
        # With the parser in Python, a path may hold bytes that are no UTF-8, as surrogates.
        return self.json(
            status, {"error": error.encode(errors="replace").decode(), "hint": hint}, head
        )

    def _shared_lines(self) -> str:
        now = time.monotonic()
        if now >= self._shared_until:
            self._shared = self._render_shared_lines()
            self._octets_lines = f"{self._shared}Content-Type: {OCTET_STREAM}\r\n{_STORED}"
            # Never kept before the node has settled: the first answer after it must say so.
            self._shared_until = now + 1.0 if self._node.settled else 0.0
        return self._shared

    def _render_shared_lines(self) -> str:
        settled = "true" if self._node.settled else "false"
        return (
            f"Date: {formatdate(usegmt=True)}\r\nServer: kvgossip/{__version__}\r\nCache-Control: "
            f"no-cache\r\n{_GUARDS}KV-Settled: {settled}\r\n{self._age_line()}"
        )

    def _age_line(self) -> str:
        try:
            stale_s = self._node.stale_s
            if stale_s is not None:
                return f"KV-Stale: true\r\nKV-Synced-Age: {int(stale_s)}\r\n"
            age_s = self._node.last_exchange_age_s
        except LocalError:
            # A node that was stopped under its server: the answer that says so must not fail for
            # want of an age.
            age_s = None
        return "" if age_s is None else f"KV-Synced-Age: {int(age_s)}\r\n"


def sendable(content_type: str | None) -> str:
    """A stored content type as it may go into a head: a peer may have sent anything."""
    try:
        check_content_type(content_type)
    except LocalError:
        return OCTET_STREAM
    return content_type or OCTET_STREAM
