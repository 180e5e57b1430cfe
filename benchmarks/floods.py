"""How long do the clients of a sealed node wait while somebody floods it?

    python -m benchmarks.floods [--seconds 15] [--calm-s 5] [--only members ...] [--json]

Two sealed agents, which know each other, and four clients of the first, which GET and PUT keys of
100 B with a pause in between. For each flood two new agents: first their clients alone for --calm-s
seconds, then with the flood for --seconds, then a while after it. What is sent, and by whom,
flooders.py says; all of it comes from this machine. Agents and clients and flood share two
processors: the agents have one, the rest the other, and the flood gives way to the clients.

    calm, flood   p99 of the clients' requests, ms: without it, and with it
    max           the longest of them, with it
    failed        requests with another answer than 200, or none
    cpu           of one processor, what the node used meanwhile, per cent
    log           lines of the node's log from the begin of the flood until after it

Laws: the peer of the node never declares it dead, and the log of the node grows by less than 100
lines in each minute that was begun. Targets: with each flood the p99 is under 50 ms, or under 3
times that of its calm, whichever is greater; and no request fails.

Needs two processors.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.agents import ROOT, VALUE_BYTES, Agent, AgentError, cpu_s, environment
from benchmarks.clients import take_http
from benchmarks.flooders import FLOODS
from benchmarks.http import LOAD_CORE, SERVER_CORE
from benchmarks.report import Report, Row, Table, finish, need
from kvgossip.runtime.loop import run

CLUSTER = "floods"
CLIENTS, KEYS, PAUSE_S = 4, 1000, 0.004
EXCHANGES_S = 2.0
"""The node begins exchanges so often: else it would hardly ask anybody within a flood."""
AFTER_S = 3.0
"""Who is suspected at the end of a flood is declared dead a while later."""
P99_MS, TIMES, LINES_A_MINUTE = 50.0, 3.0, 100
DEAD = re.compile(rb": n1 at \S+ is dead")


class Seen(NamedTuple):
    """What the clients have seen: times in seconds, sorted."""

    took_s: list[float]
    failed: int

    def percentile_ms(self, share: float) -> float:
        """Infinite where nothing was answered."""
        if not self.took_s:
            return math.inf
        return 1000 * self.took_s[min(len(self.took_s) - 1, int(len(self.took_s) * share))]


# -- clients ---------------------------------------------------------------------------------------


async def load(address: tuple[str, int], seconds: float) -> Seen:
    """The clients of the node for so many seconds."""
    ends_s = time.monotonic() + seconds
    found = await asyncio.gather(*(client(address, at, ends_s) for at in range(CLIENTS)))
    return Seen(
        sorted(each for took_s, _ in found for each in took_s), sum(failed for _, failed in found)
    )


async def client(address: tuple[str, int], number: int, ends_s: float) -> tuple[list[float], int]:
    """How long its requests took, and how many failed; who is cut off comes again."""
    took_s: list[float] = []
    failed, at, writer = 0, number, None
    while time.monotonic() < ends_s:
        began_s = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(*address)
            writer.write(request(at))
            good = await answered(reader)
        except (OSError, EOFError):
            good = False
            if writer is not None:
                writer.close()
            writer = None
        took_s.append(time.perf_counter() - began_s)
        failed += not good
        at += CLIENTS
        await asyncio.sleep(PAUSE_S)
    if writer is not None:
        writer.close()
    return took_s, failed


def request(number: int) -> bytes:
    """PUTs of each key before the first GETs, then both in turn."""
    put = number < KEYS or number // CLIENTS % 2 == 0
    body = b"x" * VALUE_BYTES if put else b""
    head = f"{'PUT' if put else 'GET'} /kv/own/{number % KEYS} HTTP/1.1\r\nHost: n\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answered(reader: asyncio.StreamReader) -> bool:
    """True if the next answer is a good one. Raises EOFError where the connection ends."""
    received = b""
    while True:
        data = await reader.read(65536)
        if not data:
            raise EOFError
        received += data
        size, answer = take_http(received)
        if size and answer is not None:
            return answer.startswith(b"HTTP/1.1 200")


# -- floods ----------------------------------------------------------------------------------------


def make_keyring(file: Path) -> None:
    command = [sys.executable, "-m", "kvgossip", "keygen", str(file)]
    subprocess.run(
        command, cwd=ROOT, env=environment(ROOT, {}), stdout=subprocess.DEVNULL, check=True
    )


def flooder(kind: str, agent: Agent, keyring: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that floods this agent, and prints how much it sent."""
    command = [sys.executable, "-m", "benchmarks.flooders", kind, "--cluster", CLUSTER]
    command += ["--gossip", agent.gossip, "--http", agent.http, "--keyring", str(keyring)]
    return subprocess.Popen(
        [*command, "--seconds", str(seconds)],
        cwd=ROOT,
        env=environment(ROOT, {}),
        stdout=subprocess.PIPE,
        text=True,
    )


def measure(kind: str, seconds: float, calm_s: float) -> Row:
    """Raises AgentError."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        keyring = folder / "keyring"
        make_keyring(keyring)
        agents = [
            Agent(
                each,
                cluster=CLUSTER,
                parameters={"push_pull_interval_s": EXCHANGES_S},
                options=["--keyring", str(keyring)],
                core=SERVER_CORE,
                log=folder / f"{each}.log",
            )
            for each in ("n1", "n2")
        ]
        node, peer = agents
        for agent in agents:
            stack.callback(agent.stop)
        node.start()
        peer.start(node.gossip)
        for agent in agents:
            agent.settle()
        run(load(node.address, KEYS / CLIENTS * (PAUSE_S + 0.001)))  # so that all keys are there
        calm = run(load(node.address, calm_s))
        lines = lines_of(folder / "n1.log")
        flood = flooder(kind, node, keyring, seconds)
        stack.callback(end, flood)
        assert flood.stdout is not None
        if not flood.stdout.readline():
            raise AgentError(f"the flood of {kind} has ended before it began: see above")
        used_s, began_s = cpu_s(node.pid), time.monotonic()
        seen = run(load(node.address, seconds))
        cpu = (cpu_s(node.pid) - used_s) / (time.monotonic() - began_s)
        sent = flood.stdout.readline().strip()
        if not sent:
            raise AgentError(f"the flood of {kind} has failed: see above")
        time.sleep(AFTER_S)
        return {
            "flood": kind,
            "sent": int(sent),
            "calm p99 ms": calm.percentile_ms(0.99),
            "flood p99 ms": seen.percentile_ms(0.99),
            "max ms": seen.percentile_ms(1.0),
            "requests": len(seen.took_s),
            "failed": seen.failed,
            "cpu %": 100 * cpu,
            "log lines": lines_of(folder / "n1.log") - lines,
            "declared dead": len(DEAD.findall((folder / "n2.log").read_bytes())),
        }


def lines_of(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    with process:
        pass


def report(rows: Sequence[Row], seconds: float) -> Report:
    laws, targets = {}, {}
    lines_max = LINES_A_MINUTE * math.ceil((seconds + AFTER_S) / 60)
    for row in rows:
        flood, limit_ms = row["flood"], max(P99_MS, TIMES * row["calm p99 ms"])
        laws[f"{flood}: never declared dead"] = not row["declared dead"]
        laws[f"{flood}: less than {lines_max} lines in the log"] = row["log lines"] < lines_max
        targets[f"{flood}: p99 under {limit_ms:.0f} ms"] = row["flood p99 ms"] < limit_ms
        targets[f"{flood}: no request fails"] = not row["failed"]
    title = f"clients of a sealed node without a flood, and in {seconds:g} s of it"
    return Report("floods", [Table(title, rows)], laws=laws, targets=targets)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="of each flood")
    parser.add_argument("--calm-s", type=float, default=5.0, help="before each of them")
    parser.add_argument("--only", nargs="+", choices=tuple(FLOODS), default=tuple(FLOODS))
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    need(cores=2)
    os.sched_setaffinity(0, {LOAD_CORE})
    rows = []
    try:
        for kind in options.only:
            rows.append(measure(kind, options.seconds, options.calm_s))
            print(f"{kind}: {rows[-1]}", file=sys.stderr, flush=True)
    except AgentError as error:
        sys.exit(str(error))
    finish(report(rows, options.seconds), json=options.json)


if __name__ == "__main__":
    main()
