"""Processes of console.py: browsers that have the console open, and a load of GETs.

    python -m benchmarks.console_process browsers PORT COUNT     until standard input ends
    python -m benchmarks.console_process load PORT SECONDS RATE  figures, as JSON

A browser here asks what a tab asks, as often, and reads what it streams (kvgossip/api/ui). It draws
nothing: a Chromium would take the processor time of which the node is to have its share. The tabs
show the pages in turn: Cluster, Keys, Convergence, Releases, Safety.

The load is open: each connection has its times to ask, and an answer is as late as it comes after
that time. So who waits behind a slow answer counts with all that it waits.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from array import array
from collections.abc import Coroutine
from typing import Any
from urllib.parse import quote

from aiohttp import ClientSession, ClientTimeout

from benchmarks.agents import key_of
from benchmarks.clients import Client, take_http
from kvgossip.runtime.loop import run

CONNECTIONS = 16
KEYS = 1000
WRITES_PER_S = 20
WARM_S = 1.0
IN_SIGHT = 40
FORGET = ClientTimeout(total=None)


# -- browsers --------------------------------------------------------------------------------------


class Tab:
    """A page of the console, with connections of its own."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def ask(self, path: str) -> None:
        async with self._session.get(path) as answer:
            await answer.read()

    async def every(self, pause_s: float, *paths: str) -> None:
        while True:
            for path in paths:
                await self.ask(path)
            await asyncio.sleep(pause_s)

    async def follow(self, path: str) -> None:
        async with self._session.get(path) as answer:
            async for _ in answer.content:
                pass

    async def follow_keys(self) -> None:
        """The keys in sight are read again where they change; a change elsewhere may have moved
        them, so they are listed again, after a while in which more may change."""
        listing: asyncio.Task[None] | None = None
        async with self._session.get("watch?prefix=&coalesce=300ms") as answer:
            async for line in answer.content:
                if not line.startswith(b"data: {"):
                    continue
                key = json.loads(line[6:]).get("key", "")
                if key < key_of(IN_SIGHT):
                    body = json.dumps({"operations": [{"get": key}]})
                    async with self._session.post("batch", data=body) as read:
                        await read.read()
                elif key >= key_of(200) and (listing is None or listing.done()):
                    listing = asyncio.create_task(self._list_again())

    async def _list_again(self) -> None:
        await asyncio.sleep(0.5)
        await self.ask("kv?prefix=&offset=0&limit=200")

    def works(self, page: str) -> list[Coroutine[Any, Any, None]]:
        shell = self.every(3, "cluster")
        if page == "cluster":
            return [shell, self.follow("events?since=0")]
        if page == "keys":
            return [shell, self.follow_keys(), self.every(10, "folders?prefix=&limit=100")]
        if page == "convergence":
            return [shell, self.follow("events?since=0"), self.every(10, "series")]
        if page == "releases":
            return [shell, self.every(3, f"releases/{quote('shop/', safe='')}")]
        return [shell, self.every(5, "status")]


PAGES = ("cluster", "keys", "convergence", "releases", "safety")


async def browse(port: int, count: int) -> None:
    """Says `open`, and ends with standard input."""
    loop = asyncio.get_running_loop()
    sessions = [ClientSession(f"http://127.0.0.1:{port}/", timeout=FORGET) for _ in range(count)]
    tasks = [
        asyncio.create_task(work)
        for number, session in enumerate(sessions)
        for work in Tab(session).works(PAGES[number % len(PAGES)])
    ]
    print("open", flush=True)
    ended: asyncio.Future[Any] = loop.run_in_executor(None, sys.stdin.read)
    ends: list[asyncio.Future[Any]] = [ended, *tasks]
    done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for each in tasks:
        each.cancel()
    for session in sessions:
        await session.close()
    for task in done - {ended}:
        sys.exit(f"a browser ended: {task.exception()!r}")


# -- load ------------------------------------------------------------------------------------------


class Punctual(Client):
    """Asks each `interval_s`, or as soon as it was answered where that is later."""

    interval_s = 1.0
    _due_s = 0.0

    def _ask(self) -> None:
        now_s = time.perf_counter()
        self._due_s = self._due_s + self.interval_s if self._due_s else now_s
        if self._due_s > now_s:
            asyncio.get_running_loop().call_later(self._due_s - now_s, self._send)
        else:
            self._send()

    def _send(self) -> None:
        if self.transport.is_closing():
            return
        self._asked_s = self._due_s
        self.transport.write(self._requests[self._next])
        self._next = (self._next + 1) % len(self._requests)


def _requests(method: str, body: bytes, first: int) -> list[bytes]:
    keys = (key_of((first + 37 * number) % KEYS) for number in range(KEYS))
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"HTTP/1.1\r\nHost: n\r\n{length}\r\n"
    return [f"{method} /kv/{key} {head}".encode() + body for key in keys]


async def load(port: int, seconds: float, rate: float) -> dict[str, float]:
    """GETs at that rate, with a few writes; latencies of the GETs in ms."""
    loop = asyncio.get_running_loop()
    warming, gets_s, puts_s = array("d"), array("d"), array("d")
    made = [
        Punctual(b"", _requests("GET", b"", 61 * number), take_http, b"HTTP/1.1 200 ", warming)
        for number in range(CONNECTIONS)
    ]
    for client in made:
        client.interval_s = CONNECTIONS / rate
    writer = Punctual(b"", _requests("PUT", b"x" * 100, 0), take_http, b"HTTP/1.1 20", puts_s)
    writer.interval_s = 1 / WRITES_PER_S
    for number, client in enumerate([*made, writer]):
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        # they do not ask all at once
        await asyncio.sleep(made[0].interval_s / CONNECTIONS if number else 0)
    await asyncio.sleep(WARM_S)
    for client in made:
        client._took_s = gets_s
    await asyncio.sleep(seconds)
    for client in [*made, writer]:
        client.transport.abort()
    for wrong in filter(None, (client.wrong for client in [*made, writer])):
        sys.exit(f"the load saw {wrong!r}")
    ordered = sorted(gets_s)
    return {
        "requests": len(ordered),
        **{f"p{part}_ms": 1000 * ordered[len(ordered) * part // 100] for part in (50, 99)},
    }


def main() -> None:
    what, port, *numbers = sys.argv[1:]
    if what == "browsers":
        run(browse(int(port), int(numbers[0])))
    else:
        print(json.dumps(run(load(int(port), float(numbers[0]), float(numbers[1])))))


if __name__ == "__main__":
    main()
