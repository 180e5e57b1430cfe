"""A client of /watch that reads bytes from a socket: it sees what is sent, and when the connection
ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.api.serving import Served, serving

TIMEOUT_S = 30.0


class StreamBlock(NamedTuple):
    """One block of a stream; `kind` is empty where it is no event."""

    kind: str
    id: str | None
    data: Any


async def ask(server: Served, query: str) -> tuple[int, dict[str, str], Any]:
    """The whole answer of a poll, or of a refusal: status, headers, JSON."""
    async with asyncio.timeout(TIMEOUT_S):
        reply = await server.call("GET", f"/watch?{query}")
    return reply.status, reply.headers, reply.json


async def open_stream(server: Served, query: str, last_event_id: str | None = None) -> Stream:
    reader, writer = await server.connect(limit=2**18)
    header = "" if last_event_id is None else f"Last-Event-ID: {last_event_id}\r\n"
    writer.write(f"GET /watch?{query} HTTP/1.1\r\nHost: n\r\n{header}\r\n".encode())
    return Stream(reader, writer)


class Stream:
    """The blocks that come over one connection. `cursor` is what it would come back with, `held`
    what it believes the node has."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.cursor = ""
        self.held: dict[str, Any] = {}

    async def head(self) -> str:
        async with asyncio.timeout(TIMEOUT_S):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def block(self) -> StreamBlock | None:
        """The next block, None at the end of the stream."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                text = (await self.reader.readuntil(b"\n\n")).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        fields = dict(line.split(": ", 1) for line in text.strip().split("\n") if ": " in line)
        self.cursor = fields.get("id", self.cursor)
        data = json.loads(fields["data"]) if "data" in fields else None
        return StreamBlock(fields.get("event", ""), fields.get("id"), data)

    async def event(self) -> StreamBlock | None:
        """The next event, None at the end of the stream."""
        while (event := await self.block()) is not None and not event.kind:
            pass
        if event is not None:
            self._apply(event)
        return event

    async def events(self, count: int) -> list[tuple[str, str]]:
        """Kind and key of the next events."""
        found = []
        for _ in range(count):
            event = await self.event()
            assert event is not None
            found.append((event.kind, event.data.get("key", "")))
        return found

    def _apply(self, event: StreamBlock) -> None:
        if event.kind == "resync":
            self.held = {}
        elif event.kind == "put":
            self.held[event.data["key"]] = event.data["version"]
        elif event.kind in ("delete", "expire"):
            self.held.pop(event.data["key"], None)


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[Served]:
    """A node with its server."""
    async with serving() as start:
        yield await start(**{"value_bytes_max": 2**20, **settings})


@asynccontextmanager
async def stream(server: Served, **query: str) -> AsyncIterator[Stream]:
    """A watcher whose response has begun: `since_header` goes into Last-Event-ID."""
    since = query.pop("since_header", None)
    opened = await open_stream(server, urlencode(query), since)
    try:
        assert (await opened.head()).startswith("HTTP/1.1 200 OK\r\n")
        # where it begins
        await opened.block()
        yield opened
    finally:
        opened.writer.close()
