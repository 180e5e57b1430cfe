"""Is every acknowledged write still there after kill -9?

    python -m benchmarks.kill [--kills 50] [--writers 4] [--seed 1] [--json]

Three agents with data directories, on this machine, under writes. Again and again, at a random
moment, one of them is killed with SIGKILL. Then, before it runs again:

    disk        its directory, as the crash left it, is opened and must have every write that this
                node had acknowledged
    truncated   the same with a copy whose newest log is cut at a random byte after the last
                acknowledged commit: what a power cut may leave

and the agent is started on it again, with the same writes there as soon as it answers. At the end
all three nodes must have all writes that any had acknowledged. A key may have a newer version than
the acknowledged one, never an older or none. Exits with 1 where a write is missing, or a directory
does not open.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.agents import Agent, AgentError
from benchmarks.report import Report, Table, finish
from kvgossip.client.client import Client
from kvgossip.client.failures import UnreachableError
from kvgossip.errors import KVGossipError
from kvgossip.protocol.model.checksum import CHECKSUM_BYTES
from kvgossip.protocol.model.entry import version_of
from kvgossip.runtime.disk.rocksdb import RocksDB

NODES = ("n1", "n2", "n3")
KEYS = 3000
VALUE_BYTES = 100
PATIENCE_S = 120.0
MOMENT_S = 0.5
PAGE = 1000
BLOCK_BYTES, HEADER_BYTES = 32 * 1024, 7
VERSION_BYTES = 16

Acked = dict[str, str]
"""The greatest version of each key that was acknowledged."""


class LostError(Exception):
    """An acknowledged write is missing."""


class Victim:
    """One agent that may be killed and started again, on the same directory."""

    def __init__(self, name: str, folder: Path, **parameters: object) -> None:
        self.name, self.folder = name, folder / name
        self._agent = Agent(
            name,
            cluster="kill",
            data_dir=self.folder,
            parameters={"profile": "local", **parameters},
        )
        self.acked: Acked = {}

    @property
    def http(self) -> str:
        return self._agent.http

    @property
    def gossip(self) -> str:
        return self._agent.gossip

    @property
    def address(self) -> tuple[str, int]:
        return self._agent.address

    @property
    def pid(self) -> int:
        return self._agent.pid

    async def start(self, *join: str) -> float:
        """Returns the seconds until it serves. Raises LostError."""
        try:
            return await asyncio.to_thread(self._agent.start, *join)
        except AgentError as error:
            raise LostError(f"{self.name} does not start on {self.folder}: {error}") from error

    async def settled(self) -> None:
        """A node that was killed before it had ever caught up would rightly answer no read after
        its restart.
        """
        await asyncio.to_thread(self._agent.settle)

    async def kill(self) -> None:
        await asyncio.to_thread(self._agent.kill)

    async def stop(self) -> None:
        await asyncio.to_thread(self._agent.stop)


class Writers:
    """Writes to whatever runs, and remembers what was acknowledged."""

    def __init__(self, victims: list[Victim], count: int, rng: random.Random) -> None:
        self._victims, self._rng = victims, rng
        self.acked: Acked = {}
        self.writes = 0
        self._tasks = [
            asyncio.create_task(self._write(victim)) for victim in victims for _ in range(count)
        ]

    async def _write(self, victim: Victim) -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._write_until_it_breaks(victim)
            await asyncio.sleep(0.02)

    async def _write_until_it_breaks(self, victim: Victim) -> None:
        reader, writer = await asyncio.open_connection(*victim.address)
        try:
            while True:
                key, value = f"key-{self._rng.randrange(KEYS)}", self._rng.randbytes(VALUE_BYTES)
                head = f"PUT /kv/{key} HTTP/1.1\r\nHost: n\r\nContent-Length: {VALUE_BYTES}\r\n\r\n"
                writer.write(head.encode() + value)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                fields = dict(
                    line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line
                )
                await reader.readexactly(int(fields["content-length"]))
                if not head.startswith("HTTP/1.1 200"):
                    raise LostError(f"{victim.name} refused a write: {head.splitlines()[0]}")
                self._acknowledge(victim, key, fields["kv-version"])
        finally:
            writer.close()

    def _acknowledge(self, victim: Victim, key: str, version: str) -> None:
        self.writes += 1
        for acked in (victim.acked, self.acked):
            acked[key] = max(version, acked.get(key, ""))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        done = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in done:
            if isinstance(result, LostError):
                raise result


def check(acked: Acked, found: dict[str, str], where: str) -> None:
    """Raises LostError unless every acknowledged version, or a newer one, was found."""
    lost = [key for key, version in acked.items() if found.get(key, "") < version]
    if lost:
        raise LostError(
            f"{where}: {len(lost)} of {len(acked)} acknowledged writes are missing,"
            f" such as {lost[0]}"
        )


def on_disk(folder: Path) -> dict[str, str]:
    """The versions in a data directory that nobody uses. Raises what opening it raises."""
    storage = RocksDB(folder)
    try:
        storage.open()
        return {
            key: str(version_of(record)) for portion in storage.entries() for key, record in portion
        }
    finally:
        storage.close()


def synced_bytes(log: bytes, acked: Acked) -> int:
    """Up to where this log of RocksDB was surely synced: to the end of the last commit that holds
    an acknowledged version.

    A log is blocks of 32 KiB of fragments: 4 bytes checksum, 2 length, 1 type (1 whole, 2 first, 3
    middle, 4 last).
    """
    versions = {bytes.fromhex(version.replace("-", "")) for version in acked.values()}
    place, synced, commit = 0, 0, b""
    while place + HEADER_BYTES <= len(log):
        left = BLOCK_BYTES - place % BLOCK_BYTES
        length, kind = int.from_bytes(log[place + 4 : place + 6], "little"), log[place + 6]
        if left < HEADER_BYTES or kind == 0:
            place += left
            continue
        commit = (b"" if kind in (1, 2) else commit) + log[
            place + HEADER_BYTES : place + HEADER_BYTES + length
        ]
        place += HEADER_BYTES + length
        if kind in (1, 4) and place <= len(log) and _holds(commit, versions):
            synced = place
    return synced


def _holds(commit: bytes, versions: set[bytes]) -> bool:
    """Whether any of these versions is in the commit.

    An entry there: 1 byte length of the key, b"ekey-...", the length of the value as a varint, and
    the value: its checksum, then the record, whose version is 16 bytes after its first byte. Each
    is counted off, since a checksum holds any bytes.
    """
    place = commit.find(b"ekey-", 1)
    while place >= 0:
        end = place + commit[place - 1]
        while commit[end : end + 1] >= b"\x80":
            end += 1
        start = end + 1 + CHECKSUM_BYTES + 1
        if commit[start : start + VERSION_BYTES] in versions:
            return True
        place = commit.find(b"ekey-", place + 1)
    return False


def cut_log(folder: Path, acked: Acked, rng: random.Random) -> bool:
    """Cut the newest log somewhere after the last acknowledged commit; whether there was anything
    to cut.
    """
    log = max((folder / "db").glob("*.log"))
    data = log.read_bytes()
    synced = synced_bytes(data, acked)
    if synced >= len(data):
        return False
    log.write_bytes(data[: rng.randrange(synced, len(data))])
    return True


def versions_at(victim: Victim) -> dict[str, str]:
    """What a node has, as it answers it."""
    found: dict[str, str] = {}
    with Client(f"http://{victim.http}") as client:
        after: str | None = ""
        while after is not None:
            page = client.page("", PAGE, after)
            found.update((entry["key"], entry["version"]) for entry in page["entries"])
            after = page["after"]
    return found


async def kill_one(
    victim: Victim, others: list[Victim], scratch: Path, rng: random.Random, counts: Counter[str]
) -> float:
    """Returns the seconds that its restart took."""
    await victim.kill()
    acked = dict(victim.acked)
    for kind in ("disk", "truncated"):
        copy = scratch / kind
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(victim.folder, copy)
        if kind == "truncated":
            counts["truncated"] += cut_log(copy, acked, rng)
        try:
            check(acked, await asyncio.to_thread(on_disk, copy), f"{victim.name}, {kind}")
        except KVGossipError as error:
            raise LostError(f"{victim.name}, {kind}: {error}") from error
    took_s = await victim.start(*(other.gossip for other in others))
    check(acked, await asyncio.to_thread(versions_at, victim), f"{victim.name}, after its restart")
    counts["kills"] += 1
    return took_s


async def converge(victims: list[Victim], acked: Acked) -> None:
    """Every node must come to have every acknowledged write."""
    deadline_s = time.monotonic() + PATIENCE_S
    for victim in victims:
        while True:
            try:
                check(
                    acked,
                    await asyncio.to_thread(versions_at, victim),
                    f"{victim.name}, at the end",
                )
                break
            except (LostError, UnreachableError):
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(0.2)


async def run(kills: int, writers: int, seed: int) -> dict[str, Any]:
    """Raises LostError at the first write that is missing."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    restarts_s: list[float] = []
    with tempfile.TemporaryDirectory(prefix="kvgossip-kill-") as folder:
        victims = [Victim(name, Path(folder)) for name in NODES]
        try:
            for victim in victims:
                await victim.start(*(other.gossip for other in victims[:1] if other is not victim))
            for victim in victims:
                await victim.settled()
            load = Writers(victims, writers, rng)
            try:
                for number in range(kills):
                    await asyncio.sleep(rng.uniform(0.0, MOMENT_S))
                    victim = rng.choice(victims)
                    others = [other for other in victims if other is not victim]
                    restarts_s.append(await kill_one(victim, others, Path(folder), rng, counts))
                    if (number + 1) % 20 == 0:
                        print(
                            f"{number + 1}/{kills} kills, none of {load.writes:,} writes lost",
                            file=sys.stderr,
                        )
            finally:
                await load.stop()
            await converge(victims, load.acked)
        finally:
            await asyncio.gather(*(victim.stop() for victim in victims))
    restarts_s.sort()
    return {
        "kills": counts["kills"],
        "logs_truncated": counts["truncated"],
        "writes_acknowledged": load.writes,
        "lost": 0,
        "restart_median_s": round(restarts_s[len(restarts_s) // 2], 2),
        "restart_max_s": round(restarts_s[-1], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument(
        "--writers", type=int, default=4, help="connections that write to each node"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    try:
        found = asyncio.run(run(options.kills, options.writers, options.seed))
    except LostError as error:
        sys.exit(f"LOST: {error}")
    title = "kill -9 of one of three agents under writes, again and again"
    laws = {"no acknowledged write is lost": found["lost"] == 0}
    finish(Report("kill", [Table(title, [found])], laws=laws), json=options.json)


if __name__ == "__main__":
    main()
