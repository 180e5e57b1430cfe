"""What does an idle watcher cost a node, and how soon do all of them hear of one write?

    python -m benchmarks.watchers [--watchers 10000] [--rounds 5] [--prefixes 1] [--json]

One node with its HTTP server in a process of its own; the watchers are streams of /watch over real
sockets of loopback, all in this process. A watcher's cost is what the node's process has more (the
anonymous part of PSS: pages of libraries come and go with other processes) once all are connected
and idle; what the kernel keeps for sockets is not in it. Then one PUT a round, to a key that all of
them watch, while nothing else happens: from the start of the request until the last watcher has the
event. `get_ms`: the slowest GET that was asked meanwhile, one after the other.

With --prefixes N they watch that many different prefixes, all of which the written key has.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable
from typing import Any, cast
from urllib.parse import quote

from benchmarks.exchange import ROOT, verdict
from kvgossip.cli.process.open_files import raise_file_limit
from kvgossip.runtime.loop import run

WATCHER_KB_MAX, HEARD_S_MAX = 40.0, 1.0
CONNECTING = 100
PATIENCE_S = 120.0
KEY = "watched/" + "x" * 64


class Client(asyncio.Protocol):
    """One watcher: it knows when the events came."""

    def __init__(self, prefix: str, told: asyncio.Queue[float]) -> None:
        self.begun = asyncio.get_running_loop().create_future()
        self._prefix, self._told = prefix, told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # not asked for with isinstance: uvloop's transports are none of asyncio's
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(
            f"GET /watch?prefix={quote(self._prefix)} HTTP/1.1\r\nHost: n\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if b"event: put" in data:
            self._told.put_nowait(time.perf_counter())
        elif b"retry: " in data and not self.begun.done():
            self.begun.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.begun.done():
            self.begun.set_exception(ConnectionError("a watcher was refused"))


async def serve() -> None:
    """In a process of its own: a node, until standard input ends."""
    from kvgossip import Config, Node
    from kvgossip.api.server import ApiServer, listen
    from kvgossip.config import Address

    raise_file_limit()
    async with Node(
        Config(name="bench", gossip=Address("127.0.0.1", 0), watchers_max=1_000_000)
    ) as node:
        server = ApiServer(node, listen(Address("127.0.0.1", 0)))
        await server.start()
        print(server.address.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.stop()


def pss_bytes(process_id: int) -> int:
    with open(f"/proc/{process_id}/smaps_rollup") as told:
        return 1024 * next(int(line.split()[1]) for line in told if line.startswith("Pss_Anon:"))


async def measure(watchers: int, rounds: int, prefixes: int) -> dict[str, Any]:
    raise_file_limit()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.watchers", "--serve", stdin=PIPE, stdout=PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    try:
        return await _measured(process, watchers, rounds, prefixes)
    finally:
        process.stdin.close()
        await process.wait()


async def _measured(process: Process, watchers: int, rounds: int, prefixes: int) -> dict[str, Any]:
    assert process.stdout is not None
    port, told = int(await process.stdout.readline()), asyncio.Queue[float]()
    # what the first of them loads and allocates is no cost of a watcher
    await request(port, "PUT", KEY)
    (first,) = await connect(port, [""], told)
    first.transport.abort()
    empty = pss_bytes(process.pid)
    started_s = time.perf_counter()
    clients = await connect(
        port, [KEY[: 1 + number % prefixes] for number in range(watchers)], told
    )
    connected_s = time.perf_counter() - started_s
    await asyncio.sleep(1.0)
    idle = pss_bytes(process.pid)
    heard = [await hear(port, len(clients), told) for _ in range(rounds)]
    found = {
        "watchers": watchers,
        "prefixes": prefixes,
        "watcher_kb": round((idle - empty) / watchers / 1024, 2),
        "connect_s": round(connected_s, 2),
        "first_ms": round(1000 * statistics.median(first for first, _, _ in heard), 1),
        "all_ms": round(1000 * statistics.median(last for _, last, _ in heard), 1),
        "all_ms_max": round(1000 * max(last for _, last, _ in heard), 1),
        "get_ms": round(1000 * max(slowest for _, _, slowest in heard), 1),
    }
    for client in clients:
        client.transport.abort()
    return found


async def connect(port: int, prefixes: Iterable[str], told: asyncio.Queue[float]) -> list[Client]:
    """One watcher for each prefix, CONNECTING of them at a time; returns when the streams of all
    have begun."""
    loop, turn = asyncio.get_running_loop(), asyncio.Semaphore(CONNECTING)

    async def open_one(prefix: str) -> Client:
        async with turn:
            _, client = await loop.create_connection(
                lambda: Client(prefix, told), "127.0.0.1", port
            )
            await client.begun
            return client

    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.gather(*map(open_one, prefixes))


async def hear(port: int, watchers: int, told: asyncio.Queue[float]) -> tuple[float, float, float]:
    """Seconds from the start of a PUT until the first and the last watcher have it, and those of
    the slowest GET meanwhile."""
    done = asyncio.Event()
    gets = asyncio.create_task(_ask_until(port, done))
    started_s = time.perf_counter()
    await request(port, "PUT", KEY)
    async with asyncio.timeout(PATIENCE_S):
        times_s = [await told.get() for _ in range(watchers)]
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
    writer.write(
        (
            f"{method} /kv/{key} HTTP/1.1\r\nHost: n\r\nConnection: close\r\nContent-Length: "
            f"{len(body)}\r\n\r\n"
        ).encode()
        + body
    )
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


def show(seen: dict[str, Any]) -> None:
    print(
        f"{seen['watchers']:,} idle watchers of {seen['prefixes']} prefixes on one node, "
        f"connected in {seen['connect_s']} s"
    )
    print(
        f"  memory a watcher: {seen['watcher_kb']} KB   at most "
        f"{WATCHER_KB_MAX}{verdict(seen['watcher_kb'] <= WATCHER_KB_MAX)}"
    )
    print(f"  from the start of a PUT until the first has it: {seen['first_ms']} ms")
    within = verdict(seen["all_ms_max"] <= 1000 * HEARD_S_MAX)
    print(
        f"  until all have it: {seen['all_ms']} ms, at worst {seen['all_ms_max']}   at most "
        f"{1000 * HEARD_S_MAX:.0f}{within}"
    )
    print(f"  the slowest GET meanwhile: {seen['get_ms']} ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--watchers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prefixes", type=int, default=1, help=f"1 to {len(KEY)}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        run(serve())
        return
    seen = run(measure(options.watchers, options.rounds, options.prefixes))
    print(json.dumps(seen)) if options.json else show(seen)


if __name__ == "__main__":
    main()
