"""One keep-alive HTTP connection to an agent, from inside its namespace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from .namespace import socket_in

HTTP_PORT = 27480
ANSWER_S = 10.0
"""How long an answer may take, unless it is said otherwise. A healthy node takes milliseconds."""


class NoAnswerError(Exception):
    """Nobody knows whether it was done."""


class Answer(NamedTuple):
    """The names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def stale(self) -> bool:
        """The node says that it may lack something."""
        return self.headers.get("kv-stale", "").lower() == "true"


class Target(Protocol):
    """Where an agent listens: in which namespace, at which IP address; or `unix:` and the path of a
    unix socket, which are in no namespace."""

    namespace: str
    host: str


@dataclass
class Place:
    """A target that is no agent."""

    namespace: str
    host: str


class HttpClient:
    """A connection is made by the first request, and again after one that failed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is not None and self._writer is not None:
            return self._reader, self._writer
        self._reader, self._writer = await open_connection(self._target)
        return self._reader, self._writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = ANSWER_S,
    ) -> Answer:
        """Raises NoAnswerError."""
        try:
            async with asyncio.timeout(timeout):
                return await self._ask(method, path, body, headers or {})
        except (
            OSError,
            EOFError,
            asyncio.LimitOverrunError,
            IndexError,
            ValueError,
        ) as error:
            self.close()
            raise NoAnswerError(f"{type(error).__name__}: {error}") from None
        except BaseException:
            self.close()
            raise

    async def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        reader, writer = await self.connect()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = f"Content-Length: {len(body)}\r\n"
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: chaos\r\n{length}{lines}\r\n".encode())
        writer.write(body)
        status, fields = parse_head(await reader.readuntil(b"\r\n\r\n"))
        content = b""
        if method != "HEAD" and status not in (204, 304):
            content = await self._body(reader, fields)
        if fields.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, fields, content)

    @staticmethod
    async def _body(reader: asyncio.StreamReader, fields: Mapping[str, str]) -> bytes:
        if fields.get("transfer-encoding", "").lower() != "chunked":
            return await reader.readexactly(int(fields.get("content-length", 0)))
        chunks = []
        while octets := int(await reader.readline(), 16):
            chunks.append(await reader.readexactly(octets))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(chunks)


async def open_connection(
    target: Target, limit: int = 2**22
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises OSError."""
    if target.host.startswith("unix:"):
        return await asyncio.open_unix_connection(target.host.removeprefix("unix:"), limit=limit)
    made = socket_in(target.namespace)
    try:
        await asyncio.get_running_loop().sock_connect(made, (target.host, HTTP_PORT))
        return await asyncio.open_connection(sock=made, limit=limit)
    except BaseException:
        made.close()
        raise


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """The status and the headers of an answer. Raises ValueError or IndexError."""
    first, *rest = head.decode("latin-1").strip().split("\r\n")
    pairs = (line.partition(":") for line in rest)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}
