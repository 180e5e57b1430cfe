"""Does a node survive twice the load that it can serve, with its memory back and no acknowledged
write lost?

    python -m benchmarks.overload [--seconds 20] [--factor 2] [--slow 40] [--json]

Three agents with data directories share one processor of this machine, the load has the others; all
of it goes to the first agent. First 64 connections that wait for each answer find out what it can
serve: PUTs of new keys of 100 B, and one GET in five. Then it is offered `--factor` times that for
`--seconds`, as an open load (see load.py): requests start on schedule, whether or not earlier ones
were answered. Meanwhile `--slow` watchers with values, and as many readers who pipeline GETs of 1
MiB, take a kilobyte now and then, and come again when they are cut off. /healthz is asked every 100
ms, on a connection of its own that stays, and on a new one each time.

The laws, of which a broken one makes the exit code 1:
- The load was offered: `--factor` times what the node served, before or meanwhile, was started.
  (Others on this machine may have made the node slower meanwhile. The load does not start what is
  due while it has thousands of connections open.)
- Every request is answered 200, or 503 with Retry-After, or its connection is closed, or never
  made: a node that is offered more than it can even refuse leaves that to its kernel. None waits 30
  s. A GET of what was acknowledged gives it.
- Every write that was acknowledged is there with its version and value: on all three nodes once
  they agree; in the data directory of the first after kill -9; and on the first when it runs on
  that directory again, alone.
- /healthz answers 200 on the connection that stays, every time.
- The memory comes back: a second cluster takes the same writes at leisure, over four connections,
  with nobody slow; and when both are idle, no node of the first is larger than its like there by
  more than MEMORY_SHARE of that and MEMORY_MB. (RSS: what the data itself needs is in both; the
  rest is what overload has left behind.)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.agents import ROOT, cpu_s, resident_bytes
from benchmarks.kill import NODES, LostError, Victim, check, on_disk
from benchmarks.load import HANG_S, beside, key_of, value_of
from benchmarks.report import Report, Row, Table, finish
from kvgossip.api.archive import parse_lines, split_lines
from kvgossip.cli.process.open_files import raise_file_limit
from kvgossip.client.client import Client
from kvgossip.protocol.model.entry import value_in, version_of
from kvgossip.runtime.loop import run

MEMORY_SHARE, MEMORY_MB = 0.15, 16.0
PROBE_S = SAMPLE_S = 0.1
CAPACITY_S = 5.0
OFFERED_SHARE = 0.95
IDLE_S = 20.0
"""So long nothing happens before memory is looked at: connections, links and commits have ended
then.
"""
AGREE_S = 120.0
LEISURE, LEISURE_S_MAX = 4, 1800.0
BIG_BYTES = 1024 * 1024
SIP_BYTES, SIP_S = 1024, 0.25
MB = 1024 * 1024

Records = dict[str, tuple[str, bytes]]
"""Version and value by key."""
Acked = dict[int, str]
"""Version by number of the key."""


class Trio:
    """Three agents on one processor."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [Victim(name, folder) for name in NODES]
        self.peak_mb = [0.0] * len(NODES)

    async def start(self) -> None:
        for node in self.nodes:
            await node.start(*(other.gossip for other in self.nodes[:1] if other is not node))
        for node in self.nodes:
            await node.settled()
        for node in self.nodes:
            pin(node.pid, first=True)

    async def stop(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes))

    @property
    def address(self) -> tuple[str, int]:
        return self.nodes[0].address

    def sample(self) -> list[float]:
        """RSS now."""
        seen = [resident_bytes(node.pid) / MB for node in self.nodes]
        self.peak_mb = list(map(max, self.peak_mb, seen))
        return [round(each, 1) for each in seen]

    def cpu_s(self) -> float:
        """What the first of them has used of its processor."""
        return cpu_s(self.nodes[0].pid)

    async def sample_on(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(SAMPLE_S)

    async def agree(self) -> float:
        """Seconds until the roots of all are equal. Raises LostError."""
        started_s = time.monotonic()
        while time.monotonic() < started_s + AGREE_S:
            roots = set()
            for node in self.nodes:
                with Client(f"http://{node.http}", timeout_s=HANG_S) as client:
                    roots.add((await asyncio.to_thread(client.document, "/status"))["root"])
            if len(roots) == 1:
                return time.monotonic() - started_s
            await asyncio.sleep(0.5)
        raise LostError(f"the nodes do not agree within {AGREE_S:.0f} s")


def pin(process_id: int, *, first: bool) -> None:
    """To the first processor of this machine, or to all others."""
    cores = range(os.cpu_count() or 1)
    if len(cores) > 1:
        os.sched_setaffinity(process_id, cores[:1] if first else cores[1:])


# -- load ----------------------------------------------------------------------------------------


async def load(address: tuple[str, int], *arguments: str) -> dict[str, Any]:
    """What a load in a process of its own tells."""
    command = [sys.executable, "-m", "benchmarks.load", f"{address[0]}:{address[1]}", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        told = await process.stdout.read()
        if await process.wait():
            sys.exit("the load failed")
    finally:
        if process.returncode is None:
            process.kill()
    found: dict[str, Any] = json.loads(told)
    return found


async def sip(address: tuple[str, int], request: bytes, counts: Counter[str]) -> None:
    """A client that takes far less than it asks for, again and again."""
    loop = asyncio.get_running_loop()
    while True:
        with socket.socket() as taking, suppress(OSError):
            taking.setblocking(False)
            taking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(taking, address)
            counts["came"] += 1
            await loop.sock_sendall(taking, request)
            while await loop.sock_recv(taking, SIP_BYTES):  # noqa: ASYNC110 - it is slow, and waits for nothing
                await asyncio.sleep(SIP_S)
        counts["cut off"] += 1
        await asyncio.sleep(1.0)


async def probe(
    address: tuple[str, int], told: Counter[str], slowest_s: list[float], *, anew: bool
) -> None:
    """Ask /healthz until cancelled, `anew` on a new connection each time; `told` counts statuses,
    and what was closed or hung.
    """
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    try:
        while True:
            started_s, answer = time.monotonic(), ""
            try:
                async with asyncio.timeout(HANG_S):
                    connection = connection or await asyncio.open_connection(*address)
                    answer = await _ask(*connection)
            except (OSError, asyncio.IncompleteReadError) as error:
                told["hung" if isinstance(error, TimeoutError) else "closed"] += 1
            else:
                told[answer] += 1
            slowest_s[0] = max(slowest_s[0], time.monotonic() - started_s)
            if connection is not None and (anew or not answer):
                connection[1].close()
                connection = None
            await asyncio.sleep(PROBE_S)
    finally:
        if connection is not None:
            connection[1].close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(
        int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    )
    return head[9:12].decode()


async def overload(
    trio: Trio, rate: float, options: argparse.Namespace, acked: Path
) -> dict[str, Any]:
    """What became of the open load, of those who probed, and of the slow ones."""
    address, slow = trio.address, Counter[str]()
    watching = (
        f"GET /watch?prefix={quote('load/')}&values=base64 HTTP/1.1\r\nHost: n\r\n\r\n".encode()
    )
    reading = b"GET /kv/big HTTP/1.1\r\nHost: n\r\n\r\n" * 64
    stays, anew = (Counter[str](), [0.0]), (Counter[str](), [0.0])
    work = [trio.sample_on(), probe(address, *stays, anew=False), probe(address, *anew, anew=True)]
    work += [
        sip(address, request, slow) for request in (watching, reading) for _ in range(options.slow)
    ]
    async with beside(work):
        arguments = (
            "--rate",
            str(rate),
            "--seconds",
            str(options.seconds),
            "--first",
            str(10**7),
            "--acked",
            str(acked),
        )
        told = await load(address, *arguments)
    told["healthz"] = {
        name: {"answers": dict(seen), "slowest_ms": round(1000 * slowest_s[0])}
        for name, (seen, slowest_s) in (("stays", stays), ("anew", anew))
    }
    return told | {"slow": dict(slow)}


# -- what must hold ------------------------------------------------------------------------------


def records_of(node: Victim) -> Records:
    """All live entries of a node, by its export."""
    found: Records = {}
    with Client(f"http://{node.http}", timeout_s=AGREE_S) as client:
        data = b"".join(client.export())
    for key, record in parse_lines(
        [line for line in split_lines(data) if line.startswith(b'{"key":')]
    ):
        found[key] = (str(version_of(record)), value_in(record) or b"")
    return found


def check_values(acked: Acked, found: Records, where: str) -> None:
    """Raises LostError."""
    lost = [
        number
        for number, version in acked.items()
        if found.get(key_of(number)) != (version, value_of(number))
    ]
    if lost:
        raise LostError(
            f"{where}: {len(lost)} of {len(acked)} acknowledged writes are missing,"
            f" such as {key_of(lost[0])}"
        )


async def check_writes(trio: Trio, acked: Acked) -> None:
    """On all nodes, on the disk of the first after kill -9, and on the first when it runs again,
    alone. Raises LostError.
    """
    for node in trio.nodes:
        check_values(
            acked, await asyncio.to_thread(records_of, node), f"{node.name}, after the overload"
        )
    first, *others = trio.nodes
    await first.kill()
    on_its_disk = await asyncio.to_thread(on_disk, first.folder)
    check(
        {key_of(number): version for number, version in acked.items()},
        on_its_disk,
        f"the disk of {first.name}",
    )
    for other in others:
        await other.stop()
    await first.start()
    with Client(f"http://{first.http}") as client:
        # the others do not come back, and so it may say that there is no more than it has
        await asyncio.to_thread(client.settle)
    check_values(
        acked,
        await asyncio.to_thread(records_of, first),
        f"{first.name}, started again from its disk",
    )


async def idle_mb(trio: Trio) -> list[float]:
    """RSS once the nodes agree and nothing has happened for a while."""
    await trio.agree()
    await asyncio.sleep(IDLE_S)
    return trio.sample()


async def put_big(trio: Trio) -> None:
    with Client(f"http://{trio.nodes[0].http}") as client:
        await asyncio.to_thread(client.put, "big", bytes(BIG_BYTES))


# -- one run -------------------------------------------------------------------------------------


async def overloaded(folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], Acked]:
    """The figures, and what was acknowledged. Raises LostError."""
    trio = Trio(folder)
    try:
        await trio.start()
        start_mb = trio.sample()
        await put_big(trio)
        started_cpu_s = trio.cpu_s()
        capacity = await load(
            trio.address, "--seconds", str(CAPACITY_S), "--acked", str(folder / "capacity")
        )
        served_per_s = capacity["answered"] / capacity["took_s"]
        cpu_s = [started_cpu_s, trio.cpu_s()]
        before_mb = trio.sample()
        told = await overload(trio, options.factor * served_per_s, options, folder / "overload")
        cpu_s.append(trio.cpu_s())
        agreed_s = await trio.agree()
        after_mb = await idle_mb(trio)
        acked = {
            int(number): version
            for name in ("capacity", "overload")
            for number, version in json.loads((folder / name).read_text()).items()
        }
        await check_writes(trio, acked)
    finally:
        await trio.stop()
    return {
        "closed_per_s": round(served_per_s),
        "offered_per_s": round(
            sum(told["counts"].get(kind, 0) for kind in ("puts", "gets")) / told["took_s"]
        ),
        "served_per_s": round(told["answered"] / told["took_s"]),
        "cpu_us": {
            "closed": round(1e6 * (cpu_s[1] - cpu_s[0]) / capacity["answered"]),
            "overload": round(1e6 * (cpu_s[2] - cpu_s[1]) / max(1, told["answered"])),
        },
        "load": told,
        "writes_acknowledged": len(acked),
        "agreed_s": round(agreed_s, 1),
        "rss_mb": {"start": start_mb, "before": before_mb, "peak": trio.peak_mb, "after": after_mb},
    }, acked


async def at_leisure(folder: Path, acked: Acked) -> list[float]:
    """RSS of a cluster that took the same writes with time."""
    trio = Trio(folder)
    try:
        await trio.start()
        await put_big(trio)
        (folder / "numbers").write_text(json.dumps(acked))
        told = await load(
            trio.address,
            "--numbers",
            str(folder / "numbers"),
            "--connections",
            str(LEISURE),
            "--seconds",
            str(LEISURE_S_MAX),
        )
        if told["answered"] != len(acked):
            raise LostError(
                f"at leisure {told['answered']} of {len(acked)} writes were taken: {told}"
            )
        return await idle_mb(trio)
    finally:
        await trio.stop()


def _folder(scratch: str, name: str) -> Path:
    folder = Path(scratch, name)
    folder.mkdir()
    return folder


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    raise_file_limit()
    everywhere = os.sched_getaffinity(0)
    pin(0, first=False)
    try:
        return await _measured(options)
    finally:
        os.sched_setaffinity(0, everywhere)


async def _measured(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kvgossip-overload-") as scratch:
        found, acked = await overloaded(_folder(scratch, "overload"), options)
        found["rss_mb"]["leisure"] = await at_leisure(_folder(scratch, "leisure"), acked)
    memory, health = found["rss_mb"], found["load"]["healthz"]["stays"]["answers"]
    limits_mb = [round(each * (1 + MEMORY_SHARE) + MEMORY_MB, 1) for each in memory["leisure"]]
    memory["limit"] = limits_mb
    found["laws"] = {
        "the load was offered": found["offered_per_s"]
        > OFFERED_SHARE * options.factor * min(found["closed_per_s"], found["served_per_s"]),
        "every request was answered, refused or closed": not found["load"]["wrong"],
        "no acknowledged write is lost": True,
        "/healthz answered on the connection that stays": set(health) == {"200"},
        "the memory came back": all(
            after <= limit for after, limit in zip(memory["after"], limits_mb, strict=True)
        ),
    }
    return found


def report(found: dict[str, Any]) -> Report:
    load, counts, times = found["load"], found["load"]["counts"], found["load"]["times_ms"]
    became: list[Row] = [
        {"requests": title, "number": number}
        | {f"{share} ms": times[f"{kind}_{share}"] for share in ("p50", "p99", "max")}
        for title, number, kind in (
            ("answered 200", load["answered"], "answered"),
            ("503, Retry-After", counts.get("refused", 0), "refused"),
        )
    ]
    became += [
        {"requests": "closed unanswered", "number": counts.get("closed", 0)},
        {"requests": "not connected within 5 s", "number": counts.get("not_connected", 0)},
        {"requests": "not even started by the load", "number": counts.get("not_started", 0)},
    ]
    tables = [
        Table(
            f"one node of three under {load['took_s']:.0f} s of overload",
            [
                {"of": "requests/s of the closed load", "figure": found["closed_per_s"]},
                {"of": "requests/s offered", "figure": found["offered_per_s"]},
                {"of": "requests/s served meanwhile", "figure": found["served_per_s"]},
                {
                    "of": "processor time of a request, closed, us",
                    "figure": found["cpu_us"]["closed"],
                },
                {
                    "of": "the same under overload, with all that is refused",
                    "figure": found["cpu_us"]["overload"],
                },
                {"of": "the load was late by at most, ms", "figure": times["late_max"]},
                {"of": "writes acknowledged", "figure": found["writes_acknowledged"]},
                {"of": "until all nodes agreed, s", "figure": found["agreed_s"]},
            ],
        ),
        Table("what became of the requests", became),
        Table(
            "/healthz meanwhile, by its connection, and slow clients",
            [
                {"of": f"/healthz, {name}", "seen": str(seen["answers"])}
                | {"slowest ms": seen["slowest_ms"]}
                for name, seen in load["healthz"].items()
            ]
            + [{"of": "slow clients", "seen": str(load["slow"])}],
        ),
        Table(
            "RSS of each node, MB",
            [
                {"when": when} | dict(zip(NODES, each, strict=True))
                for when, each in found["rss_mb"].items()
            ],
        ),
    ]
    if load["wrong"]:
        tables.append(Table("wrong", [{"answer": wrong} for wrong in load["wrong"]]))
    return Report("overload", tables, laws=found["laws"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--factor", type=float, default=2.0, help="offered, by what the node can serve"
    )
    parser.add_argument(
        "--slow", type=int, default=40, help="slow watchers, and so many slow readers"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    try:
        found = run(measure(options))
    except LostError as error:
        sys.exit(f"LOST: {error}")
    finish(report(found), json=options.json)


if __name__ == "__main__":
    main()
