"""A client of /watch that reads bytes from a socket: it sees what is sent, and when the connection ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlencode

from kvgossip import Config, Node
from kvgossip.api.server import ApiServer, listen
from kvgossip.config import Address

ANYWHERE = Address("127.0.0.1", 0)
TIMEOUT_S = 30.0


class Told(NamedTuple):
    """One block of a stream; `kind` is empty where it is no event."""

    kind: str
    id: str | None
    data: Any


class Served(NamedTuple):
    node: Node
    server: ApiServer

    async def connect(self, query: str, **headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """GET /watch?query, with these headers: `last_event_id` becomes Last-Event-ID."""
        reader, writer = await asyncio.open_connection(*self.server.address, limit=2**18)
        lines = [f"GET /watch?{query} HTTP/1.1", "Host: n", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        return reader, writer

    async def ask(self, query: str, **headers: str) -> tuple[int, dict[str, str], Any]:
        """The whole answer of a poll, or of a refusal: status, headers, JSON."""
        reader, writer = await self.connect(query, connection="close", **headers)
        async with asyncio.timeout(TIMEOUT_S):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        status, _, lines = head.decode().partition("\r\n")
        told = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines.split("\r\n"))}
        return int(status.split()[1]), told, json.loads(body)


class Stream:
    """The blocks that come over one connection. `cursor` is what it would come back with, `held` what it believes the node has."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.cursor = ""
        self.held: dict[str, Any] = {}

    async def head(self) -> str:
        async with asyncio.timeout(TIMEOUT_S):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def block(self) -> Told | None:
        """The next block, None at the end of the stream."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                text = (await self.reader.readuntil(b"\n\n")).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        fields = dict(line.split(": ", 1) for line in text.strip().split("\n") if ": " in line)
        self.cursor = fields.get("id", self.cursor)
        data = json.loads(fields["data"]) if "data" in fields else None
        return Told(fields.get("event", ""), fields.get("id"), data)

    async def event(self) -> Told | None:
        """The next event, None at the end of the stream."""
        while (told := await self.block()) is not None and not told.kind:
            pass
        if told is not None:
            self._apply(told)
        return told

    async def events(self, count: int) -> list[tuple[str, str]]:
        """Kind and key of the next events."""
        found = []
        for _ in range(count):
            told = await self.event()
            assert told is not None
            found.append((told.kind, told.data.get("key", "")))
        return found

    def _apply(self, told: Told) -> None:
        if told.kind == "resync":
            self.held = {}
        elif told.kind == "put":
            self.held[told.data["key"]] = told.data["version"]
        elif told.kind in ("delete", "expire"):
            self.held.pop(told.data["key"], None)


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[Served]:
    """A node with its server."""
    async with AsyncExitStack() as stack:
        listener = listen(ANYWHERE)
        node = Node(Config(**{"name": "n1", "gossip": ANYWHERE, "http": Address(*listener.getsockname()), **settings}))
        await node.start()
        stack.push_async_callback(node.stop, leave=False)
        server = ApiServer(node, listener)
        await server.start()
        stack.push_async_callback(server.stop)
        yield Served(node, server)


@asynccontextmanager
async def stream(server: Served, **query: str) -> AsyncIterator[Stream]:
    """A watcher whose response has begun: `since_header` goes into Last-Event-ID."""
    headers = {"last_event_id": query.pop("since_header")} if "since_header" in query else {}
    opened = Stream(*await server.connect(urlencode(query), **headers))
    try:
        assert (await opened.head()).startswith("HTTP/1.1 200 OK\r\n")
        # where it begins
        await opened.block()
        yield opened
    finally:
        opened.writer.close()
