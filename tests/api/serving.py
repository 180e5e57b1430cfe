"""A node with its HTTP server on real sockets, for tests. Requests are written byte by byte, so
that no client library tidies them up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

from kvgossip import Config, Node
from kvgossip.api.listening import listen
from kvgossip.api.server import ApiServer
from kvgossip.api.tls.certificates import Certificates
from kvgossip.config import Address

VALUE_BYTES_MAX = 2000
ANYWHERE = Address("127.0.0.1", 0)
# Nothing listens on port 1, so who joins it never settles.
NOBODY = "127.0.0.1:1"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


class Served:
    """A node with its server, and connections to it."""

    def __init__(self, node: Node, server: ApiServer) -> None:
        self.node, self.server = node, server

    async def call(
        self, method: str, target: str, body: bytes | None = None, **headers: str
    ) -> Reply:
        """One request on a connection of its own. `content_type=` becomes Content-Type."""
        lines = [f"{method} {target} HTTP/1.1", "Host: node"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [] if body is None else [f"Content-Length: {len(body)}"]
        return await self.raw(
            "\r\n".join([*lines, "", ""]).encode() + (body or b""), method == "HEAD"
        )

    async def raw(self, data: bytes, head_only: bool = False) -> Reply:
        reader, writer = await self.connect()
        writer.write(data)
        try:
            return await read_reply(reader, head_only)
        finally:
            writer.close()
            await writer.wait_closed()

    async def connect(
        self, limit: int = 2**16
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """`limit`: how many bytes the reader holds."""
        return await asyncio.open_connection(*self.server.address, limit=limit)


async def read_reply(reader: asyncio.StreamReader, head_only: bool = False) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    length = 0 if head_only else int(headers.get("content-length", "0"))
    return Reply(int(status.split()[1]), headers, await reader.readexactly(length))


Serve = Callable[..., Awaitable[Served]]


@asynccontextmanager
async def serving() -> AsyncIterator[Serve]:
    """A function that starts nodes with servers, and stops them at the end.

    `settings` are those of their Config, `inputs` other arguments of Node; with `certificates` the
    server speaks TLS.
    """
    async with AsyncExitStack() as stack:

        async def start(
            name: str = "n1",
            *,
            inputs: Mapping[str, Any] = MappingProxyType({}),
            certificates: Certificates | None = None,
            **settings: Any,
        ) -> Served:
            listener = listen(ANYWHERE)
            config = Config(
                **{
                    "name": name,
                    "gossip": ANYWHERE,
                    "http": Address(*listener.getsockname()),
                    "value_bytes_max": VALUE_BYTES_MAX,
                    "founding_s": 0.0,
                    **settings,
                }
            )
            node = Node(config, **inputs)
            await node.start()
            stack.push_async_callback(node.stop, leave=False)
            server = ApiServer(node, listener, certificates=certificates)
            await server.start()
            stack.push_async_callback(server.stop)
            return Served(node, server)

        yield start
