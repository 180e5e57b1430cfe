"""A client of /watch that goes on from its cursor over restarts, and keeps a table of what it
hears."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from .agent import Agent
from .http_client import open_connection, parse_head
from .record import Record

RETRY_S = 0.2
SILENCE_S = 40.0
"""A stream shows a sign of life every 15 s."""


@dataclass(frozen=True, slots=True)
class Resync:
    """At `at_s` a resync ended: it took `lost` of `had` keys from the table."""

    at_s: float
    had: int
    lost: int
    has: int


class Watch:
    """`table` are versions by key, `events` are counted by their kind."""

    def __init__(self, agent: Agent, record: Record, prefix: str = "") -> None:
        self.agent, self._record, self._prefix = agent, record, prefix
        self.table: dict[str, str] = {}
        self.events: Counter[str] = Counter()
        self.resyncs: list[Resync] = []
        self._cursor = "0"
        self._fresh: dict[str, str] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(
                OSError, EOFError, asyncio.LimitOverrunError, ValueError, IndexError
            ):
                await self._stream()
            await asyncio.sleep(RETRY_S)

    async def _stream(self) -> None:
        async with asyncio.timeout(3):
            reader, writer = await open_connection(self.agent)
        try:
            path = f"/watch?prefix={self._prefix}"
            last = f"Last-Event-ID: {self._cursor}\r\n"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: chaos\r\n{last}\r\n".encode())
            async with asyncio.timeout(3):
                status, _ = parse_head(await reader.readuntil(b"\r\n\r\n"))
            self._fresh = None
            while status == 200:
                async with asyncio.timeout(SILENCE_S):
                    self._take((await reader.readuntil(b"\n\n")).decode())
        finally:
            writer.transport.abort()

    def _take(self, block: str) -> None:
        """One event of the stream, or a comment."""
        pairs = (line.partition(":") for line in block.split("\n"))
        fields = {name: value.removeprefix(" ") for name, _, value in pairs if name}
        if fields.get("event"):
            self.hear(fields["event"], json.loads(fields.get("data") or "{}"))
        self._cursor = fields.get("id", self._cursor)

    def hear(self, kind: str, event: dict[str, Any]) -> None:
        self.events[kind] += 1
        if kind == "resync":
            self._fresh = {}
        elif kind == "synced" and self._fresh is not None:
            self._end_resync(self._fresh)
        for table in (self.table, self._fresh):
            if table is not None and kind == "put":
                table[event["key"]] = event["version"]
            elif table is not None and kind in ("delete", "expire"):
                table.pop(event["key"], None)

    def _end_resync(self, fresh: dict[str, str]) -> None:
        gone = sorted(self.table.keys() - fresh.keys())
        self.resyncs.append(Resync(time.monotonic(), len(self.table), len(gone), len(fresh)))
        lost = [key for key in gone if key.startswith("p/")]
        if lost:
            life = f"{self.agent.name} life {self.agent.life}"
            self._record.note("resync took", f"{life}: {len(lost)} of {len(self.table)}, {lost[0]}")
        self.table, self._fresh = fresh, None
