"""Copies and set-backs: of disks, of memories, and disks that have lost something"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from ..agent import Agent
from ..cluster import Cluster, lo_cluster
from ..http_client import HttpClient
from ..judge import judge
from ..load import Load
from ..machine import ROOT
from ..probe import all_ready, eventually
from ..scenario import Result, Violations, scenario

MENDED_S = 25.0
"""A few rounds of anti-entropy between all pairs."""

SPREAD_S = 5.0
"""A write is on all nodes by then, where no fault is about."""

LOOK = """
import json, sys
from pathlib import Path
from kvgossip.runtime.disk.rocksdb import RocksDB
from kvgossip.protocol.model.entry import version_of
storage = RocksDB(Path(sys.argv[1]))
storage.open()
row = b"context/row/"
facts = storage.facts().items()
rows = {key[len(row):].hex(): value.hex() for key, value in facts if key.startswith(row)}
found = {key: str(version_of(record)) for some in storage.entries() for key, record in some}
storage.close()
print(json.dumps({"rows": rows, "found": found}))
"""

PUNCH = """
import sys
from pathlib import Path
from kvgossip.runtime.disk.rocksdb import ENTRY, RocksDB
storage = RocksDB(Path(sys.argv[1]))
storage.open()
storage.commit({ENTRY + key.encode(): None for key in sys.argv[2:]})
storage.close()
"""


def _python(source: str, *words: str) -> str:
    """The output of a program with this checkout's kvgossip. Raises ValueError with its error."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", source, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1][:200])
    return done.stdout


def slow_copy(source: Path, target: Path, pause_s: float) -> None:
    """As a backup program copies that takes its time: a list of the files, then one by one."""
    for folder, _, names in os.walk(source):
        to = target / Path(folder).relative_to(source)
        to.mkdir(parents=True, exist_ok=True)
        for name in sorted(names):
            time.sleep(pause_s)
            if os.path.exists(os.path.join(folder, name)):
                shutil.copy2(Path(folder) / name, to / name)


class Copies:
    """Copies of the directory of a node that is written to, and what they lack.

    A hole is a write that was acknowledged, that the copy's own context covers, and that the copy
    lacks: a node on such a copy would deny that write to whoever offers it.
    """

    def __init__(self, agent: Agent, folder: Path) -> None:
        self._agent, self._folder, self._stopping = agent, folder, False
        self.versions: dict[str, list[str]] = defaultdict(list)
        self.outcomes: list[str] = []
        self.holes: list[str] = []

    async def write(self, worker: int, octets: int) -> None:
        client, number = HttpClient(self._agent), 0
        while not self._stopping:
            number += 1
            key = f"p/{worker}/{number % 4000}"
            answer = await client.ask("PUT", f"/kv/{key}", os.urandom(octets))
            if answer.status == 200:
                self.versions[key].append(answer.headers["kv-version"])

    def stop(self) -> None:
        self._stopping = True

    async def make(self, number: int, pause_s: float) -> None:
        """One copy; it is looked at, and removed."""
        copy = self._folder / f"copy{number}"
        await asyncio.to_thread(slow_copy, self._agent.data_dir, copy, pause_s)
        try:
            document = json.loads(await asyncio.to_thread(_python, LOOK, str(copy)))
        except ValueError as error:
            self.outcomes.append(f"does not open: {error}")
        else:
            self._look(document)
        await asyncio.to_thread(shutil.rmtree, copy)

    def _look(self, document: dict[str, Any]) -> None:
        rows, found = document["rows"], document["found"]
        holes = []
        for key, versions in self.versions.items():
            for version in versions:
                timestamp, site = version.split("-")
                if timestamp <= rows.get(site, "") and found.get(key, "") < version:
                    holes.append(f"{key}@{version}")
        if not rows:
            holes.append("harness: no context was found in it")
        self.outcomes.append(f"opens with {len(found)} keys and {len(holes)} holes")
        self.holes += holes[:1]


@scenario()
async def hot_copies(copies: int = 15, pause_s: float = 0.2, value_bytes: int = 4000) -> Result:
    """The directory of a node is copied while it writes, as backup programs do, fifteen times.

    A copy either does not open, or holds all that it claims to have seen. pause_s: between files.
    """
    async with lo_cluster("hot", 1) as (made, _):
        found = Copies(made.agents[0], made.folder)
        tasks = [asyncio.create_task(found.write(worker, value_bytes)) for worker in range(4)]
        await asyncio.sleep(3)
        for number in range(copies):
            await found.make(number, pause_s)
        found.stop()
        await asyncio.gather(*tasks)
    violations = Violations()
    text = f"{len(found.holes)} of {copies} copies have holes in what they claim: {found.holes[:2]}"
    violations.unless(not found.holes, text)
    return violations.result(outcomes=found.outcomes)


@scenario()
async def disk_with_a_hole(keys: int = 5) -> Result:
    """A disk has silently lost some entries, and not its context.

    The others keep them, and the node is given them again.
    """
    async with lo_cluster("hole-in-disk", 3) as (made, _):
        n1, *_ = made.agents
        for number in range(50):
            await made.agents[number % 3].put(f"p/{number}", "x", "?wait=all&timeout=5s")
        await asyncio.sleep(3)
        n1.kill()
        lost = [f"p/{number}" for number in range(keys)]
        await asyncio.to_thread(_python, PUNCH, str(n1.data_dir), *lost)
        n1.start()
        await all_ready(made.agents)
        await asyncio.sleep(MENDED_S)
        violations = Violations()
        has = {agent.name: await agent.entries("p/") for agent in made.agents}
        for name, found in has.items():
            lacks = [key for key in lost if key not in found]
            violations.unless(not lacks, f"{name} lacks {lacks}, which the disk of n1 has lost")
        quarantined = {agent.name: await agent.quarantined() for agent in made.agents}
        logs = {agent.name: agent.log_lines("WARN", "quarantin")[-3:] for agent in made.agents}
        return violations.result(quarantined=quarantined, logs=logs)


async def _start_reverting(made: Cluster) -> tuple[Agent, Path]:
    """n1 as a node whose memory can be set back, and the file of what it prints."""
    n1, out = made.add(1, data=False), made.folder / "n1.out"
    words = ["ip", "netns", "exec", n1.namespace, sys.executable, "-m", "tests.chaos.reverting"]
    n1.run([*words, "n1", n1.host, *made.addresses(3)], stdout=out)
    for number in (2, 3):
        made.add(number, join=made.addresses(3)).start()
    await all_ready(made.agents)
    return n1, out


@scenario()
async def reverted_memory(keys: int = 50) -> Result:
    """A virtual machine is set back to a snapshot: its node goes on as the same life, without what
    it has written since.

    All three nodes held those writes: all three have them again, and n1's log says what happened.
    """
    async with lo_cluster("reverted", addresses=3) as (made, _):
        n1, out = await _start_reverting(made)
        await n1.put("before", "1", "?wait=all&timeout=5s")
        await asyncio.sleep(3)
        n1.signal(signal.SIGUSR1)
        await asyncio.sleep(2)
        snapshot = int((await asyncio.to_thread(out.read_text)).split()[-1])
        try:
            held = 0
            for number in range(keys):
                answer = await n1.put(f"p/{number}", "x", "?wait=all&timeout=5s")
                held += len(answer.document["held_by"]) == 3
            n1.kill()
            os.kill(snapshot, signal.SIGCONT)
            await asyncio.sleep(MENDED_S)
            has = {agent.name: len(await agent.entries("p/")) for agent in made.agents}
            quarantined = {agent.name: await agent.quarantined() for agent in made.agents}
        finally:
            os.kill(snapshot, signal.SIGKILL)
        violations = Violations()
        violations.unless(held == keys, f"harness: all nodes held {held} of {keys} writes")
        kept = all(count == keys for count in has.values())
        violations.unless(kept, f"of {held} writes that all three nodes held, there are left {has}")
        words = n1.log_lines("WARN")
        violations.unless(bool(words), "n1 was set back, and its log has no WARNING")
        return violations.result(has=has, quarantined=quarantined, log_n1=words[-4:])


@scenario()
async def old_copy(seconds: float = 30.0, seed: int = 1) -> Result:
    """A node is killed and comes back on an older copy of its directory, as after a restore."""
    async with lo_cluster("old-copy", 3) as (made, _):
        n1, *_ = made.agents
        load = Load(made.agents, seed)
        load.start()
        await asyncio.sleep(10)
        n1.kill()
        backup = await asyncio.to_thread(n1.copy_data, made.folder / "backup")
        n1.start()
        await asyncio.sleep(seconds)
        # What n1 alone had when it was lost is lost with it: let that be nothing.
        await load.spare(n1)
        await asyncio.sleep(SPREAD_S)
        n1.kill()
        await asyncio.to_thread(n1.replace_data, backup)
        n1.start()
        await asyncio.sleep(10)
        await load.stop()
        result = await judge(load, made.agents)
        quarantined = [await agent.quarantined() for agent in made.agents]
        return {"quarantined": quarantined, "bugs": made.bugs(), **result}


@scenario()
async def deleted_and_restored_copy() -> Result:
    """Keys are deleted and their tombstones collected; then each node in turn comes back on a copy
    from before that. No deleted key is back for good, or shows on another node."""
    shown: Counter[tuple[str, str]] = Counter()
    async with lo_cluster("deleted-copy", 3) as (made, _):
        agents = made.agents
        for number in range(100):
            await agents[number % 3].put(f"d/{number}", "old", "?wait=all&timeout=5s")
        await asyncio.sleep(2)
        backups = {}
        for agent in agents:
            agent.kill()
            target = made.folder / f"{agent.name}.backup"
            backups[agent.name] = await asyncio.to_thread(agent.copy_data, target)
            agent.start()
            await all_ready([agent])
            await asyncio.sleep(3)
        for number in range(100):
            await agents[(number + 1) % 3].delete(f"d/{number}", "?wait=all&timeout=5s")

        async def collected() -> bool:
            return not any([await agent.statistics("certificates_waiting") for agent in agents])

        collected_s = await eventually("all tombstones are collected", collected, 90)
        for agent in agents:
            agent.kill()
            await asyncio.to_thread(agent.replace_data, backups[agent.name])
            agent.start()
            await all_ready([agent])
            shown |= await _shown(agent, agents, 12)
        left = {agent.name: len(await agent.entries("d/")) for agent in agents}
    violations = Violations()
    violations.unless(not any(left.values()), f"deleted keys are back: {left}")
    spread = {
        f"of {one} on {other}": count for (one, other), count in shown.items() if one != other
    }
    violations.unless(not any(spread.values()), f"deleted keys were shown: {spread}")
    own = {one: count for (one, other), count in shown.items() if one == other}
    return violations.result(collected_s=collected_s, shown_on_the_copy_itself=own)


async def _shown(restored: Agent, agents: list[Agent], seconds: float) -> Counter[tuple[str, str]]:
    """The most deleted keys that each agent has shown meanwhile, by both names."""
    shown: Counter[tuple[str, str]] = Counter()
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        for agent in agents:
            at = restored.name, agent.name
            shown[at] = max(shown[at], len(await agent.entries("d/")))
        await asyncio.sleep(0.1)
    return shown
