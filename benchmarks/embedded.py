"""What does the configuration inside a process cost, and how soon does a change arrive?

    python -m benchmarks.embedded [--parts read latency start cost] [--processes 20]
        [--writes 1000] [--keys 10000] [--seconds 10] [--rounds 5] [--json]

`read`: nanoseconds of one read, the least of several runs of `timeit`: of a dict, of a ConfigCache,
of a Node, and of Redis by redis-py over loopback, where both are installed (Debian: apt-get install
redis-server; pip install redis).

`latency`: one process writes, and the callbacks of all of them hear of it: twenty members beside an
agent, and one member with nineteen processes that follow it. From the begin of the `put` on the
clock that all processes of a machine share. Each write has a key of its own, so that none hides
another.

`start`: a process begins with keys on its disk, and nobody else is up: processor time of the
imports, and beyond them until the first value is read. numpy is none of them: 10,000 keys are no
bulk load.

`cost`: private memory and processor time of a member and of a process that follows it, with the
keys, beside the bare interpreter: a minute of idleness is `--seconds 60`. Private is what the
process does not share with others, so a library that nobody else has loaded just now counts.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.agents import ROOT, Agent, AgentError, cpu_s, environment, key_of
from benchmarks.embedded_process import NOBODY
from benchmarks.http import Redis
from benchmarks.report import Report, Row, Table, finish, is_there
from kvgossip import Address, Config, ConfigCache, Node, Writing

CALLS = 20_000
SLOW_CALLS = 200
PAUSE_S = 0.01
SETTLE_S = 1.0
BATCH = 250
MIB = 2**20
READ = 'config["k"]'
PARTS = ("read", "latency", "start", "cost")
BARE = "bare interpreter"
ABOVE_MIB = {"member": 32, "follower": 6}
Part = tuple[Table, dict[str, bool], dict[str, bool]]
"""What to print, the targets, and the laws."""


# -- read ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    k: int = 0


def least_ns(statement: str, names: Mapping[str, Any], rounds: int, calls: int = CALLS) -> float:
    timer = timeit.Timer(statement, globals=dict(names))
    return 1e9 * min(timer.repeat(10 * rounds, calls)) / calls


def measure_reads(rounds: int, skipped: list[str]) -> list[Row]:
    with ConfigCache.static({}) as config:
        config.put("k", 7)
        names = {"plain": {"k": 7}, "config": config, "limits": config.bind(Limits)}
        statements = {
            'dict["k"]': 'plain["k"]',
            READ: READ,
            'config.get("k")': 'config.get("k")',
            "limits.value": "limits.value",
            'config.snapshot()["k"]': 'config.snapshot()["k"]',
        }
        found = {name: least_ns(text, names, rounds) for name, text in statements.items()}
    found['node.get("k")'] = asyncio.run(node_read_ns(rounds))
    if (redis_ns := redis_read_ns(rounds, skipped)) is not None:
        found["redis-py GET, loopback"] = redis_ns
    plain_ns = found['dict["k"]']
    return [{"read": name, "ns": ns, "x dict": ns / plain_ns} for name, ns in found.items()]


async def node_read_ns(rounds: int) -> float:
    async with Node(Config(name="n", gossip=Address("127.0.0.1", 0), founding_s=0.0)) as node:
        await node.put("k", b"7")
        return least_ns('node.get("k")', {"node": node}, rounds)


def redis_read_ns(rounds: int, skipped: list[str]) -> float | None:
    """None where it is not there, which `skipped` says."""
    if not is_there("redis-server", "redis-server", skipped):
        return None
    try:
        redis: Any = import_module("redis")
    except ImportError:
        skipped.append("redis-py is not installed (pip install redis)")
        return None
    server = Redis()
    try:
        with redis.Redis(port=server.port) as client:
            client.set("k", b"7")
            return least_ns('client.get("k")', {"client": client}, rounds, SLOW_CALLS)
    finally:
        server.stop()


# -- processes -------------------------------------------------------------------------------------


class Process:
    """One process with a cache (embedded_process.py). Raises AgentError."""

    def __init__(self, name: str, folder: Path, *, join: str = "", data_dir: str = "") -> None:
        program = [sys.executable, str(ROOT / "benchmarks" / "embedded_process.py")]
        self._process = subprocess.Popen(
            [*program, name, join, data_dir],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment_in(folder),
        )
        self.pid = self._process.pid
        self.answer()

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AgentError(f"a process with a cache has ended with {self._process.wait()}")
        return line.strip()

    def ask(self, command: str) -> str:
        self.tell(command)
        return self.answer()

    @property
    def private_bytes(self) -> int:
        """What it shares with no other process."""
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = [line.split() for line in rollup.splitlines() if line.startswith("Private_")]
        return 1024 * sum(int(words[1]) for words in found)

    def end(self) -> None:
        self._process.communicate()


def environment_in(folder: Path) -> dict[str, str]:
    """Modules are compiled once, as those of an installation are, and not into the checkout.
    Processes of one host that have no data directory meet here."""
    ours = environment(ROOT, {})
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    places = ("XDG_RUNTIME_DIR", "run"), ("PYTHONPYCACHEPREFIX", "compiled")
    return ours | {name: str(folder / place) for name, place in places}


def process_in(stack: ExitStack, name: str, folder: Path, **options: str) -> Process:
    process = Process(name, folder, **options)
    stack.callback(process.end)
    return process


# -- latency ---------------------------------------------------------------------------------------


def measure_latency(folder: Path, kind: str, processes: int, writes: int) -> Row:
    """`kind`: `members`, beside an agent, or `followers` of one member."""
    with ExitStack() as stack:
        join = ""
        if kind == "members":
            agent = Agent("agent")
            stack.callback(agent.stop)
            agent.start()
            agent.settle()
            join = agent.gossip
        names = [f"n{number}" if kind == "members" else "n" for number in range(processes)]
        running = [process_in(stack, name, folder, join=join) for name in names]
        roles = [process.ask("open") for process in running]
        for process in running:
            process.ask("settle")
        time.sleep(SETTLE_S)
        running[0].ask(f"put {writes} {PAUSE_S}")
        told = [each.ask(f"heard {writes}").split() for each in running]
    heard = [[float(word) for word in words] for words in told]
    return latency_row(kind, roles, writes, heard)


def latency_row(
    kind: str, roles: Sequence[str], writes: int, heard: Sequence[Sequence[float]]
) -> Row:
    all_ms = sorted(1000 * each for times in heard for each in times)
    if not all_ms:
        raise AgentError("no process has heard of any write")
    return {
        "processes": f"{roles.count('member')} members, {roles.count('follower')} followers",
        "writes": writes,
        "p50 ms": statistics.median(all_ms),
        "p99 ms": all_ms[min(len(all_ms) - 1, int(0.99 * len(all_ms)))],
        "max ms": all_ms[-1],
        "missed": writes * len(roles) - len(all_ms),
    }


# -- start and cost --------------------------------------------------------------------------------


async def fill(data_dir: Path, keys: int) -> None:
    config = Config(
        name="n",
        cluster="bench",
        gossip=Address("127.0.0.1", 0),
        founding_s=0.0,
        data_dir=str(data_dir),
    )
    async with Node(config) as node:
        for start in range(0, keys, BATCH):
            numbers = range(start, min(start + BATCH, keys))
            await node.batch([Writing(f"bench/{key_of(each)}", b"%d" % each) for each in numbers])


def measure_start(folder: Path, rounds: int) -> Row:
    imports, reads, walls = [], [], []
    with ExitStack() as stack:
        # modules are compiled
        process_in(stack, "n", folder).ask("member")
    for _ in range(rounds):
        with ExitStack() as stack:
            process = process_in(stack, "n", folder, join=NOBODY, data_dir=str(folder / "data"))
            bare_s = cpu_s(process.pid)
            process.ask("member")
            loaded_s, begun_s = cpu_s(process.pid), time.monotonic()
            process.ask("open")
            walls.append(1000 * (time.monotonic() - begun_s))
            reads.append(1000 * (cpu_s(process.pid) - loaded_s))
            imports.append(1000 * (loaded_s - bare_s))
    return {
        "imports, CPU ms": statistics.median(imports),
        "first read beyond them, CPU ms": statistics.median(reads),
        "first read, ms": statistics.median(walls),
    }


def measure_cost(folder: Path, data_dir: Path, keys: int, seconds: float) -> list[Row]:
    """The bare interpreter, a member, and who follows it, at the same time."""
    with ExitStack() as stack:
        # modules are compiled
        process_in(stack, "n", folder).ask("open")
    with ExitStack() as stack:
        running = {
            name: process_in(stack, "n", folder, join=NOBODY, data_dir=str(data_dir))
            for name in (BARE, "member", "follower")
        }
        for role in ("member", "follower"):
            if (found := running[role].ask("open")) != role:
                raise AgentError(f"the {role} is a {found}")
        time.sleep(SETTLE_S)
        before = {name: cpu_s(process.pid) for name, process in running.items()}
        time.sleep(seconds)
        used = {name: cpu_s(process.pid) - before[name] for name, process in running.items()}
        taken = {name: process.private_bytes / MIB for name, process in running.items()}
    return [
        {
            "process": name,
            "keys": 0 if name == BARE else keys,
            "private MiB": taken[name],
            "above the bare": taken[name] - taken[BARE],
            "idle, % of a core": 100 * used[name] / seconds,
        }
        for name in running
    ]


# -- report ----------------------------------------------------------------------------------------


def report_reads(rows: Sequence[Row]) -> Part:
    ns = {row["read"]: row["ns"] for row in rows}
    targets = {f"{READ}: at most 3 x a dict": ns[READ] <= 3 * ns['dict["k"]']}
    if "redis-py GET, loopback" in ns:
        far = ns["redis-py GET, loopback"] >= 500 * ns[READ]
        targets[f"a GET of redis-py: at least 500 x {READ}"] = far
    return Table("one read, in process", rows), targets, {}


def report_latency(rows: Sequence[Row]) -> Part:
    laws = {f"{row['processes']}: every change arrives": row["missed"] == 0 for row in rows}
    targets = {}
    for row in rows:
        targets[f"{row['processes']}: p50 below 50 ms"] = row["p50 ms"] < 50
        targets[f"{row['processes']}: none over 500 ms"] = row["max ms"] <= 500
    return Table("from a write to the callbacks of all processes", rows), targets, laws


def report_start(row: Row, keys: int) -> Part:
    beyond, imports = row["first read beyond them, CPU ms"], row["imports, CPU ms"]
    targets = {
        f"{keys:,} keys beyond the imports: at most 150 ms of CPU": beyond <= 150,
        "the imports of a member: at most 250 ms of CPU": imports <= 250,
    }
    return Table(f"start with {keys:,} keys on disk and nobody up", [row]), targets, {}


def report_cost(rows: Sequence[Row]) -> Part:
    """`rows`: without keys first."""
    above = {row["process"]: row["above the bare"] for row in reversed(rows)}
    targets = {
        f"a {role}: at most {most} MiB above the bare interpreter": above[role] <= most
        for role, most in ABOVE_MIB.items()
    }
    return Table("private memory, and idleness", rows), targets, {}


def measure(options: argparse.Namespace) -> Report:
    """Raises AgentError."""
    tables: list[Table] = []
    laws: dict[str, bool] = {}
    targets: dict[str, bool] = {}
    skipped: list[str] = []

    def note(table: Table, met: Mapping[str, bool], holds: Mapping[str, bool]) -> None:
        tables.append(table)
        targets.update(met)
        laws.update(holds)
        print(f"{table.title}: {table.rows}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "read" in options.parts:
            note(*report_reads(measure_reads(options.rounds, skipped)))
        if "latency" in options.parts:
            kinds = ("members", "followers")
            rows = [
                measure_latency(folder, kind, options.processes, options.writes) for kind in kinds
            ]
            note(*report_latency(rows))
        if {"start", "cost"} & {*options.parts}:
            asyncio.run(fill(folder / "data", options.keys))
        if "start" in options.parts:
            note(*report_start(measure_start(folder, options.rounds), options.keys))
        if "cost" in options.parts:
            rows = measure_cost(folder, folder / "empty", 0, options.seconds)
            rows += measure_cost(folder, folder / "data", options.keys, options.seconds)[1:]
            note(*report_cost(rows))
    return Report("embedded", tables, laws, targets, skipped)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--processes", type=int, default=20, help="that hear of a change")
    parser.add_argument("--writes", type=int, default=1000, help="changes that they hear of")
    parser.add_argument("--keys", type=int, default=10_000, help="on the disk")
    parser.add_argument("--seconds", type=float, default=10.0, help="of idleness")
    parser.add_argument(
        "--rounds", type=int, default=5, help="the median counts; of reads, the least"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    try:
        found = measure(options)
    except AgentError as error:
        sys.exit(str(error))
    finish(found, json=options.json)


if __name__ == "__main__":
    main()
