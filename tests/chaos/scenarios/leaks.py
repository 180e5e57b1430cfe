"""What leaks: memory and files over the time, and what a write costs"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time

from ..agent import Agent
from ..cluster import lo_cluster
from ..http_client import HTTP_PORT
from ..judge import judge
from ..load import Load, Mix
from ..namespace import socket_in
from ..scenario import Result, Violations, scenario

GROWTH_KB_MAX = 4000
"""Of the second of two equal halves, after which a leak of a hundred bytes for each watcher would
be less, and one of a kilobyte more."""
FILES_MAX = 5
SINCE = ("0", "", "bad", "0123456789abcdef-0000000000000001")


async def _come_and_go(agent: Agent, number: int) -> None:
    """One watcher, in one of the ways in which they begin and end."""
    made, loop = socket_in(agent.namespace), asyncio.get_running_loop()
    stream = f"/watch?prefix=p/&since={SINCE[number % 4]}&values=text"
    path = stream if number % 5 else "/watch?poll=1&timeout=5s"
    with contextlib.suppress(OSError):
        await loop.sock_connect(made, (agent.host, HTTP_PORT))
        await loop.sock_sendall(made, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        if number % 3:
            async with asyncio.timeout(1):
                await loop.sock_recv(made, 100)
    if number % 2:  # by a reset
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    made.close()


@scenario(limit_s=400)
async def watchers_come_and_go(turns: int = 20, each: int = 200) -> Result:
    """Thousands of watchers connect and leave in all ways, twice: files and memory afterwards."""
    async with lo_cluster("watchers", 1, data=False) as (made, _):
        (n1,) = made.agents
        for number in range(200):
            await n1.put(f"p/{number}", "x" * 100)
        await asyncio.sleep(2)
        files, memory_kb = [n1.files()], [n1.memory_kb()]
        for _ in range(2):
            for turn in range(turns):
                numbers = range(turn * each, (turn + 1) * each)
                await asyncio.gather(*(_come_and_go(n1, number) for number in numbers))
                await n1.put(f"p/{turn}", "y")
            await asyncio.sleep(20)
            files.append(n1.files())
            memory_kb.append(n1.memory_kb())
        watching = (await n1.status())["watching"]
        violations = Violations()
        violations.unless(files[-1] <= files[0] + FILES_MAX, f"files are left open: {files}")
        grown_kb = memory_kb[-1] - memory_kb[-2]
        violations.unless(grown_kb <= GROWTH_KB_MAX, f"memory grows: {memory_kb} kB")
        idle = not watching["streams"] and not watching["polls"]
        violations.unless(idle, f"somebody watches still: {watching}")
        return violations.result(files=files, memory_kb=memory_kb, bugs=made.bugs())


LITTLE_PAST = {
    "KVGOSSIP_FEED_CHANGES_MAX": "1000",
    "KVGOSSIP_HISTORY_BYTES_MAX": "100000",
    "KVGOSSIP_FEED_BYTES_MAX": "200000",
}
"""So that what still grows after some minutes is a leak."""


@scenario()
async def steady(
    minutes: float = 8.0, seed: int = 1, bounded: bool = True, data: bool = True
) -> Result:
    """A steady load without any fault: memory and files of each node over the time, then the judge.

    bounded=1: little is kept of the past, so that what still grows after minutes is a leak.
    """
    env = LITTLE_PAST if bounded else {}
    async with lo_cluster("steady", 3, env=env, data=data) as (made, _):
        load = Load(made.agents, seed, Mix(keys=500, pause_s=0.03, ttl=True))
        load.start()
        end_s, samples, files = time.monotonic() + 60 * minutes, [], []
        while time.monotonic() < end_s:
            await asyncio.sleep(20)
            samples.append([agent.memory_kb() for agent in made.agents])
            files.append([agent.files() for agent in made.agents])
        await load.stop()
        result = await judge(load, made.agents)
        half = samples[len(samples) // 2 :]
        hours = 20 * max(1, len(half) - 1) / 3600
        growth = [
            round((last - first) / 1024 / hours, 1)
            for first, last in zip(half[0], half[-1], strict=True)
        ]
        facts = {"growth_mb_per_hour": growth, "files": files[-1], "bugs": made.bugs()}
        return {"samples_kb": samples[:: max(1, len(samples) // 12)], **facts, **result}
