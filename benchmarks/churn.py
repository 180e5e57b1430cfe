"""Do memory and disk come back after a churn of keys that are created and deleted again?

    python -m benchmarks.churn [--nodes 3 1] [--portions 5 1] [--keys 200000] [--base 50000]
        [--fresh] [--json]

Agents with data directories, each a process of its own with the default profile; nobody compacts or
collects anything by hand. A base load is written and stays. It is written twice, so that what a
node keeps of the past within bounds (the history of keys, the changes for watchers) is full at the
start as it is at the end; with `--fresh` it is written once, and that counts as well. On top of it
keys are created and deleted again, that many in all: by portions, each created through one node and
deleted through the next one, and the next portion follows as soon as all nodes have heard of every
delete; with `--portions 1` all of them live at a time. The names of all keys are random, so those
that stay lie among those that go.

memory    resident bytes of each process. disk: what its directory takes (blocks, not lengths).
          `start`: with the base load, `end`: after the last death certificate has been collected;
          each the median of some seconds, after a quiet time in which a node does what it does by
          itself. `peak`: the greatest that was seen. At most 20 % more than at the start may be
          left: else it exits with 1.
gone      Seconds from the last delete, acknowledged and known to all nodes, until no certificate
          waits anywhere; and how many waited then.
GET       of keys that stay, one after the other from each node: quiet, under the load, and while
          certificates are collected and nothing else is done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_hexdigest

from benchmarks.agents import Agent, cluster, resident_bytes
from benchmarks.load import beside
from benchmarks.report import Report, Table, finish

VALUE_BYTES = 100
BATCH = 250
WRITERS = 2
RATIO_MAX = 1.2
PATIENCE_S = 900.0
QUIET_S, SEEN_S = 40.0, 10.0
LOOK_S, SAMPLE_S, GET_S = 0.5, 0.25, 0.01
Phase = str
Figures = dict[str, Any]


def key_of(number: int) -> str:
    return f"item/{xxh3_64_hexdigest(number.to_bytes(8, 'big'))}"


class Line:
    """One connection to a node that asks one thing after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, address: tuple[str, int]) -> Line:
        return cls(*await asyncio.open_connection(*address))

    async def ask(self, method: str, target: str, body: bytes = b"") -> bytes:
        head = f"{method} {target} HTTP/1.1\r\nHost: churn\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: application/json\r\n\r\n"
        self._writer.write(head.encode() + body)
        told = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in told.split("\r\n")[1:] if line)
        answer = await self._reader.readexactly(int(fields["content-length"]))
        if not told.startswith("HTTP/1.1 200"):
            raise SystemExit(f"{method} {target}: {told.splitlines()[0]} {answer[:300]!r}")
        return answer

    def close(self) -> None:
        self._writer.close()


class Watched:
    """An agent, and what was seen of its process."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.name = agent, agent.name
        self.memory: list[int] = []
        self.disk: list[int] = []

    async def status(self) -> Any:
        line = await Line.open(self.agent.address)
        try:
            return json.loads(await line.ask("GET", "/status"))
        finally:
            line.close()

    def sample(self) -> None:
        assert self.agent.data_dir is not None
        self.memory.append(resident_bytes(self.agent.pid))
        self.disk.append(sum(_blocks(file) for file in self.agent.data_dir.rglob("*")) * 512)


def _blocks(file: Path) -> int:
    with suppress(FileNotFoundError):  # a compaction is done with it
        return file.stat().st_blocks
    return 0


class Run:
    """One cluster from its start to its end."""

    def __init__(
        self, agents: list[Watched], base: int, keys: int, portions: int, fresh: bool
    ) -> None:
        self._agents, self._base, self._keys, self._portions, self._fresh = (
            agents,
            base,
            keys,
            portions,
            fresh,
        )
        self._phase: Phase = "load"
        self._gets_ms: dict[Phase, list[float]] = {}
        self._rng = random.Random(1)

    async def measure(self) -> Figures:
        async with beside([self._sample()]) as watching:
            for _ in range(1 if self._fresh else 2):
                await self._write(0, self._base, 0, delete=False)
                await self._until(
                    lambda told: told["keys"] == self._base, "all nodes have the base load"
                )
            await self._equal()
            watching += [asyncio.create_task(self._get(agent)) for agent in self._agents]
            start = await self._at_rest("quiet")
            self._phase = "churn"
            began_s = time.monotonic()
            for portion in range(self._portions):
                await self._churn(portion)
            churn_s = time.monotonic() - began_s
            gone = await self._collected()
            end = await self._at_rest("after")
            assert all(told["keys"] == self._base for told in await self._told()), (
                "a key that stays is gone"
            )
        nodes = [self._node(*each) for each in zip(self._agents, start, end, strict=True)]
        gets = {phase: _latency(seen) for phase, seen in self._gets_ms.items() if len(seen) > 1}
        shape = {
            "nodes": len(self._agents),
            "portions": self._portions,
            "base": self._base,
            "keys": self._keys,
            "fresh": self._fresh,
        }
        return {**shape, "churn_s": round(churn_s, 1), **gone, "each": nodes, "gets_ms": gets}

    async def _churn(self, portion: int) -> None:
        size, places = self._keys // self._portions, len(self._agents)
        first = self._base + portion * size
        await self._write(first, size, 0, delete=False)
        await self._until(
            lambda told: told["keys"] == self._base + size, "all nodes have the portion"
        )
        await self._write(first, size, 1 % places, delete=True)
        await self._until(
            lambda told: told["keys"] == self._base, "all nodes have heard of its deletes"
        )
        self._say(f"portion {portion + 1} of {self._portions} is created and deleted")

    async def _write(self, first: int, count: int, shift: int, *, delete: bool) -> None:
        """Batch i through node i + shift."""
        batches = [
            range(start, min(start + BATCH, first + count))
            for start in range(first, first + count, BATCH)
        ]
        places = len(self._agents)
        async with asyncio.TaskGroup() as group:
            for place, agent in enumerate(self._agents):
                mine = iter(batches[(place - shift) % places :: places])
                for _ in range(WRITERS):
                    group.create_task(self._write_through(agent, mine, delete))

    async def _write_through(self, agent: Watched, batches: Iterator[range], delete: bool) -> None:
        line = await Line.open(agent.agent.address)
        for batch in batches:
            body = json.dumps(
                {"operations": [self._operation(number, delete) for number in batch]}
            ).encode()
            results = json.loads(await line.ask("POST", "/batch", body))["results"]
            assert all(result["version"] for result in results), "a write did nothing"
        line.close()

    def _operation(self, number: int, delete: bool) -> dict[str, str]:
        if delete:
            return {"delete": key_of(number)}
        return {"put": key_of(number), "value": self._rng.randbytes(VALUE_BYTES // 2).hex()}

    async def _collected(self) -> Figures:
        """How long until no certificate waits."""
        self._phase, began_s = "collecting", time.monotonic()
        waiting = max(told["statistics"]["certificates_waiting"] for told in await self._told())
        await self._until(
            lambda told: not told["statistics"]["certificates_waiting"],
            "no certificate waits any more",
        )
        gone_s = time.monotonic() - began_s
        strays = sum(
            told["statistics"].get("entries_quarantined", 0) for told in await self._told()
        )
        self._say(f"of {waiting:,} certificates none waits any more after {gone_s:.1f} s")
        return {"certificates": waiting, "gone_s": round(gone_s, 1), "quarantined": strays}

    async def _at_rest(self, phase: Phase) -> list[tuple[float, float]]:
        """Memory and disk of each, after a quiet time."""
        self._phase = phase
        await asyncio.sleep(QUIET_S)
        before = [len(agent.memory) for agent in self._agents]
        await asyncio.sleep(SEEN_S)
        seen = [
            (statistics.median(agent.memory[since:]), statistics.median(agent.disk[since:]))
            for agent, since in zip(self._agents, before, strict=True)
        ]
        for agent, (memory, disk) in zip(self._agents, seen, strict=True):
            self._say(
                f"{agent.name}, {phase}: memory {memory / 1e6:.1f} MB, disk {disk / 1e6:.1f} MB"
            )
        return seen

    def _node(
        self, agent: Watched, start: tuple[float, float], end: tuple[float, float]
    ) -> Figures:
        told: Figures = {"name": agent.name}
        for place, (what, seen) in enumerate((("memory", agent.memory), ("disk", agent.disk))):
            told[what] = {
                "start": start[place],
                "peak": max(seen),
                "end": end[place],
                "ratio": round(end[place] / start[place], 3),
            }
        return told

    async def _equal(self) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while len({told["root"] for told in await self._told()}) > 1:
            if time.monotonic() > deadline_s:
                raise SystemExit("the nodes do not come to have the same")
            await asyncio.sleep(LOOK_S)

    async def _told(self) -> list[Any]:
        return await asyncio.gather(*(agent.status() for agent in self._agents))

    async def _until(self, holds: Any, what: str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not all(map(holds, await self._told())):
            if time.monotonic() > deadline_s:
                raise SystemExit(f"it never came to be that {what}: {await self._told()}")
            await asyncio.sleep(LOOK_S)

    # -- beside it --------------------------------------------------------------------------------

    async def _sample(self) -> None:
        while True:
            for agent in self._agents:
                agent.sample()
            await asyncio.sleep(SAMPLE_S)

    async def _get(self, agent: Watched) -> None:
        line, rng = await Line.open(agent.agent.address), random.Random(2)
        while True:
            phase, target = self._phase, f"/kv/{key_of(rng.randrange(self._base))}"
            began_s = time.perf_counter()
            await line.ask("GET", target)
            self._gets_ms.setdefault(phase, []).append(1000 * (time.perf_counter() - began_s))
            await asyncio.sleep(GET_S)

    def _say(self, text: str) -> None:
        print(
            f"{len(self._agents)} node(s), {self._portions} portion(s): {text}",
            file=sys.stderr,
            flush=True,
        )


def _latency(seen_ms: list[float]) -> Figures:
    cuts = statistics.quantiles(seen_ms, n=100)
    return {
        "gets": len(seen_ms),
        "p50": round(cuts[49], 2),
        "p99": round(cuts[98], 2),
        "max": round(max(seen_ms), 1),
    }


async def run(options: argparse.Namespace, nodes: int, portions: int) -> Figures:
    with (
        tempfile.TemporaryDirectory(prefix="kvgossip-churn-", dir=options.dir) as folder,
        cluster(nodes, folder=Path(folder)) as agents,
    ):
        watched = [Watched(agent) for agent in agents]
        return await Run(watched, options.base, options.keys, portions, options.fresh).measure()


def report(found: Sequence[Figures]) -> Report:
    tables, laws = [], {}
    for seen in found:
        shape = f"{seen['nodes']} node(s), {seen['portions']} portion(s)"
        tables += [
            Table(
                f"churn of {seen['keys']:,} keys of {VALUE_BYTES} B"
                f" above {seen['base']:,} that stay, {shape}",
                [
                    {"of": f"{node['name']}, {what}, MB"}
                    | {name: node[what][name] / 1e6 for name in ("start", "peak", "end")}
                    | {"end/start": node[what]["ratio"]}
                    for node in seen["each"]
                    for what in ("memory", "disk")
                ],
            ),
            Table(
                f"GET meanwhile, ms, {shape}",
                [{"phase": phase} | gets for phase, gets in seen["gets_ms"].items()],
            ),
            Table(
                f"certificates, {shape}",
                [
                    {"churn s": seen["churn_s"], "waiting at the end": seen["certificates"]}
                    | {"gone after s": seen["gone_s"], "in quarantine": seen["quarantined"]}
                ],
            ),
        ]
        for node in seen["each"]:
            for what in ("memory", "disk"):
                law = f"{shape}: {what} of {node['name']} is at most {RATIO_MAX} x what it was"
                laws[law] = node[what]["ratio"] <= RATIO_MAX
    return Report("churn", tables, laws=laws)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 1], help="sizes of clusters")
    parser.add_argument(
        "--portions",
        type=int,
        nargs="+",
        default=[5, 1],
        help="in how many portions the keys come and go",
    )
    parser.add_argument(
        "--keys", type=int, default=200_000, help="that are created and deleted, in all"
    )
    parser.add_argument("--base", type=int, default=50_000, help="keys that stay")
    parser.add_argument("--fresh", action="store_true", help="write the base load once")
    parser.add_argument(
        "--dir",
        help="where data goes, on a disk; default: the temporary directory",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    shapes = [(nodes, portions) for nodes in options.nodes for portions in options.portions]
    found = [asyncio.run(run(options, nodes, portions)) for nodes, portions in shapes]
    finish(report(found), json=options.json)


if __name__ == "__main__":
    main()
