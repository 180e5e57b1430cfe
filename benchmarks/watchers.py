"""What does an idle watcher cost a node, and how soon do all of them hear of one write?

    python -m benchmarks.watchers [--watchers 10000] [--rounds 5] [--prefixes 1] [--json]

One agent; the watchers are streams of /watch over real sockets of loopback, all in this process. A
watcher's cost is what the agent's process has more (the anonymous part of PSS: pages of libraries
come and go with other processes) once all are connected and idle; what the kernel keeps for sockets
is not in it. Then one PUT a round, to a key that all of them watch, while nothing else happens:
from the start of the request until the last watcher has the event. `get ms`: the slowest GET that
was asked meanwhile, one after the other.

With --prefixes N they watch that many different prefixes, all of which the written key has.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterable
from typing import cast
from urllib.parse import quote

from benchmarks.agents import Agent, cluster, pss_bytes
from benchmarks.report import Report, Row, Table, finish
from kvgossip.cli.process.open_files import raise_file_limit
from kvgossip.runtime.loop import run

WATCHER_KB_MAX, HEARD_S_MAX = 40.0, 1.0
CONNECTING = 100
PATIENCE_S = 120.0
KEY = "watched/" + "x" * 64


MANY = {"watchers_max": 1_000_000, "http_client_streams_max": 1_000_000}
"""All of them come from one address."""


class Client(asyncio.Protocol):
    """One watcher: it knows when the events came."""

    def __init__(self, prefix: str, heard_s: asyncio.Queue[float]) -> None:
        self.begun = asyncio.get_running_loop().create_future()
        self._prefix, self._heard_s = prefix, heard_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # not asked for with isinstance: uvloop's transports are none of asyncio's
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(
            f"GET /watch?prefix={quote(self._prefix)} HTTP/1.1\r\nHost: n\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if b"event: put" in data:
            self._heard_s.put_nowait(time.perf_counter())
        elif b"retry: " in data and not self.begun.done():
            self.begun.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.begun.done():
            self.begun.set_exception(ConnectionError("a watcher was refused"))


async def measure(watchers: int, rounds: int, prefixes: int) -> Row:
    raise_file_limit()
    with cluster(1, parameters=MANY) as (agent,):
        return await measured(agent, watchers, rounds, prefixes)


async def measured(agent: Agent, watchers: int, rounds: int, prefixes: int) -> Row:
    port, pid, heard_s = agent.address[1], agent.pid, asyncio.Queue[float]()
    # what the first of them loads and allocates is no cost of a watcher
    await request(port, "PUT", KEY)
    (first,) = await connect(port, [""], heard_s)
    first.transport.abort()
    empty = pss_bytes(pid, "Pss_Anon")
    started_s = time.perf_counter()
    clients = await connect(
        port, [KEY[: 1 + number % prefixes] for number in range(watchers)], heard_s
    )
    connected_s = time.perf_counter() - started_s
    await asyncio.sleep(1.0)
    idle = pss_bytes(pid, "Pss_Anon")
    heard = [await hear(port, len(clients), heard_s) for _ in range(rounds)]
    found = {
        "watchers": watchers,
        "prefixes": prefixes,
        "watcher KB": (idle - empty) / watchers / 1024,
        "connect s": connected_s,
        "first ms": 1000 * statistics.median(first for first, _, _ in heard),
        "all ms": 1000 * statistics.median(last for _, last, _ in heard),
        "all ms, max": 1000 * max(last for _, last, _ in heard),
        "get ms, max": 1000 * max(slowest for _, _, slowest in heard),
    }
    for client in clients:
        client.transport.abort()
    return found


async def connect(
    port: int, prefixes: Iterable[str], heard_s: asyncio.Queue[float]
) -> list[Client]:
    """One watcher for each prefix, CONNECTING of them at a time; returns when the streams of all
    have begun.
    """
    loop, turn = asyncio.get_running_loop(), asyncio.Semaphore(CONNECTING)

    async def open_one(prefix: str) -> Client:
        async with turn:
            _, client = await loop.create_connection(
                lambda: Client(prefix, heard_s), "127.0.0.1", port
            )
            await client.begun
            return client

    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.gather(*map(open_one, prefixes))


async def hear(
    port: int, watchers: int, heard_s: asyncio.Queue[float]
) -> tuple[float, float, float]:
    """Seconds from the start of a PUT until the first and the last watcher have it, and those of
    the slowest GET meanwhile.
    """
    done = asyncio.Event()
    gets = asyncio.create_task(_ask_until(port, done))
    started_s = time.perf_counter()
    await request(port, "PUT", KEY)
    async with asyncio.timeout(PATIENCE_S):
        times_s = [await heard_s.get() for _ in range(watchers)]
    done.set()
    return times_s[0] - started_s, times_s[-1] - started_s, await gets


async def _ask_until(port: int, done: asyncio.Event) -> float:
    slowest = 0.0
    while not done.is_set():
        started_s = time.perf_counter()
        await request(port, "GET", KEY)
        slowest = max(slowest, time.perf_counter() - started_s)
    return slowest


async def request(port: int, method: str, key: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b"x" * 100 if method == "PUT" else b""
    head = f"{method} /kv/{key} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


def report(seen: Row) -> Report:
    targets = {
        f"a watcher takes at most {WATCHER_KB_MAX} KB": seen["watcher KB"] <= WATCHER_KB_MAX,
        f"all hear within {HEARD_S_MAX} s": seen["all ms, max"] <= 1000 * HEARD_S_MAX,
    }
    title = "idle watchers of one node; from the start of a PUT until the first, and all have it"
    return Report("watchers", [Table(title, [seen])], targets=targets)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--watchers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prefixes", type=int, default=1, help=f"1 to {len(KEY)}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    seen = run(measure(options.watchers, options.rounds, options.prefixes))
    finish(report(seen), json=options.json)


if __name__ == "__main__":
    main()
