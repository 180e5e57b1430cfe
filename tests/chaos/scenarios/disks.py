"""Disks that hang, are full, or break"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from typing import Any

from ..agent import Agent
from ..cluster import Cluster, lo_cluster
from ..http_client import HttpClient, NoAnswerError
from ..judge import judge
from ..load import Load, Mix
from ..probe import all_equal, all_ready, eventually
from ..scenario import OptionError, Result, Violations, scenario
from ..small_disk import SmallDisk, small_disk

ASKED_S = 1.0
"""How long a read or a health check may take while the disk hangs: it needs no disk at all."""
UNANSWERED_MAX = 3
"""Of some sixty questions: a busy machine may hold up one of them, a loop that waits all."""
SLOW_S = 0.2
"""A read of memory takes a millisecond; one that waits for the disk, up to half a second."""
LARGE_BYTES = 60_000


async def _three(made: Cluster, disk: SmallDisk, profile: str = "local") -> list[Agent]:
    """Three agents, of which n1 has its data on that disk."""
    for number in (1, 2, 3):
        data_dir = disk.mount / "n1" if number == 1 else None
        made.add(number, join=made.addresses(3), profile=profile, data_dir=data_dir)
    await made.start_all()
    return made.agents


class Writer:
    """Writes on one agent, a write each 20 ms, and counts the answers."""

    def __init__(self, agent: Agent, timeout: float = 10.0) -> None:
        self._agent, self._timeout, self._stopping = agent, timeout, False
        self.answers: Counter[str] = Counter()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        client = HttpClient(self._agent)
        while not self._stopping:
            path = f"/kv/w/{self.answers.total() % 50}"
            try:
                answer = await client.ask("PUT", path, b"x" * 100, timeout=self._timeout)
                self.answers[str(answer.status)] += 1
            except NoAnswerError:
                self.answers["no answer"] += 1
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        self._stopping = True
        await self._task


@scenario()
async def disk_hangs(
    freeze_s: float = 20.0, write_here: bool = True, profile: str = "lan"
) -> Result:
    """The disk of one node takes nothing for a while (fsfreeze).

    Meanwhile reads and health checks are answered, the node stays a member, writes that need the
    disk are refused, and the doctor says it. write_here=0: only others write, and it keeps that.
    """
    with small_disk("hang", 256) as disk:
        async with lo_cluster("hang", addresses=3) as (made, _):
            n1, n2, _ = await _three(made, disk, profile)
            await n1.put("p/1", "1", "?wait=all&timeout=5s")
            writing = [n1, n2] if write_here else [n2]
            writers = [Writer(agent, freeze_s + 10) for agent in writing]
            await asyncio.sleep(2)
            await asyncio.to_thread(disk.freeze)
            try:
                seen, doctor = await _while_frozen(n1, n2, freeze_s)
            finally:
                await asyncio.to_thread(disk.thaw)
            await asyncio.sleep(5)
            for writer in writers:
                await writer.stop()
            answers = {
                agent.name: each.answers for agent, each in zip(writing, writers, strict=True)
            }
            converged_s = await all_equal(made.agents, 60)
            violations = Violations()
            for path in ("/kv/p/1", "/healthz"):
                silent = seen[f"{path} no answer"]
                text = f"{silent} of {path} are not answered within {ASKED_S} s: {dict(seen)}"
                violations.unless(silent <= UNANSWERED_MAX, text)
            violations.unless(not seen["n1 is dead"], "n1 is dead for n2 while its disk hangs")
            if write_here:
                refused = answers["n1"]["503"] > 0
                violations.unless(refused, f"no write on n1 is refused: {dict(answers['n1'])}")
                violations.unless(not doctor["healthy"], "the doctor of n2 finds nothing")
            return violations.result(
                seen=seen, answers=answers, converged_s=converged_s, bugs=made.bugs()
            )


async def _while_frozen(
    agent: Agent, other: Agent, seconds: float
) -> tuple[Counter[str], dict[str, Any]]:
    """What the agent answers and how the other one sees it, counted; the other one's doctor."""
    seen: Counter[str] = Counter()
    end_s = time.monotonic() + seconds
    doctor = asyncio.create_task(_later(0.6 * seconds, other))
    while time.monotonic() < end_s:
        for path in ("/kv/p/1", "/healthz"):
            try:
                seen[f"{path} {(await agent.ask('GET', path, timeout=ASKED_S)).status}"] += 1
            except NoAnswerError:
                seen[f"{path} no answer"] += 1
        seen[f"{agent.name} is {(await other.members()).get(agent.name)}"] += 1
        await asyncio.sleep(0.2)
    return seen, await doctor


async def _later(seconds: float, agent: Agent) -> dict[str, Any]:
    await asyncio.sleep(seconds)
    return await agent.doctor()


@scenario(alone=True)
async def disk_stutters(seconds: float = 30.0, off_s: float = 0.5, on_s: float = 1.5) -> Result:
    """The disk of n1 takes nothing for half a second every two: no read on n1 waits for it.

    The same reads on n3, whose disk is well, show what this machine holds up by itself.
    """
    with small_disk("stutter", 256) as disk:
        async with lo_cluster("stutter", addresses=3) as (made, _):
            n1, n2, n3 = await _three(made, disk)
            await n1.put("p/1", "1", "?wait=all&timeout=5s")
            writer = Writer(n2)
            times: dict[str, list[float]] = {"n1": [], "n3": []}
            readers = [
                asyncio.create_task(_time_reads(agent, times[agent.name])) for agent in (n1, n3)
            ]
            await asyncio.sleep(3)
            before = {name: _spread(found) for name, found in times.items()}
            for found in times.values():
                found.clear()
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                await asyncio.to_thread(disk.freeze)
                await asyncio.sleep(off_s)
                await asyncio.to_thread(disk.thaw)
                await asyncio.sleep(on_s)
            for reader in readers:
                reader.cancel()
            await writer.stop()
            slow = {name: sum(each > SLOW_S for each in found) for name, found in times.items()}
            violations = Violations()
            text = f"{slow['n1']} reads of n1 took over {SLOW_S} s, and {slow['n3']} of n3"
            violations.unless(slow["n1"] <= slow["n3"], text)
            spread = {name: _spread(found) for name, found in times.items()}
            storage = (await n1.status())["storage"]
            return violations.result(before=before, stuttering=spread, slow=slow, storage=storage)


async def _time_reads(agent: Agent, times: list[float]) -> None:
    client = HttpClient(agent)
    while True:
        begin_s = time.monotonic()
        await client.ask("GET", "/kv/p/1")
        times.append(time.monotonic() - begin_s)
        await asyncio.sleep(0.01)


def _spread(times: list[float]) -> dict[str, float]:
    """In milliseconds."""
    found = sorted(1000 * each for each in times) or [0.0]
    at = {"p50": len(found) // 2, "p99": int(len(found) * 0.99), "max": -1}
    return {"count": len(times), **{name: round(found[index], 1) for name, index in at.items()}}


@scenario(alone=True)
async def disk_full(kind: str = "full", seconds: float = 40.0, seed: int = 1) -> Result:
    """One node's disk is filled under load and emptied, twice; the second time it restarts so.

    kind=readonly: the disk breaks, as ext4 does after an error of the device, and is repaired. It
    runs alone, since agents that start beside it hold the mount, too: then nothing repairs it.
    """
    if kind not in ("full", "readonly"):
        raise OptionError("kind is full or readonly")
    with small_disk(kind, 96) as disk:
        async with lo_cluster(f"disk-{kind}", addresses=3) as (made, _):
            n1, *_ = await _three(made, disk)
            load = Load(made.agents, seed, Mix(large_bytes=LARGE_BYTES))
            load.start()
            seen: list[object] = []
            for restart in (False, True):
                await asyncio.sleep(4)
                await asyncio.to_thread(disk.fill if kind == "full" else disk.break_device)
                await asyncio.sleep(seconds / 4)
                seen.append((await n1.status())["storage"])
                if restart:
                    n1.restart()
                    await asyncio.sleep(3)
                    seen.append(f"restarted so: exit {n1.exit_code}, {n1.last_lines(1)}")
                await _free(made, disk, kind)
                takes_s = await eventually("n1 takes writes", lambda: _supervised(n1), 60)
                seen.append(f"takes writes again after {takes_s} s")
            await asyncio.sleep(3)
            await all_ready(made.agents)
            await load.stop()
            result = await judge(load, made.agents)
            return {"seen": seen, "bugs": made.bugs(), **result}


async def _takes(agent: Agent) -> bool:
    return (await agent.put("probe", "1")).status == 200


async def _supervised(agent: Agent) -> bool:
    """It may have ended for want of room, and is then started again, as supervisors do."""
    if not agent.runs:
        agent.start()
    return await _takes(agent)


async def _free(made: Cluster, disk: SmallDisk, kind: str) -> None:
    if kind == "full":
        await asyncio.to_thread(disk.empty)
    else:
        for agent in made.agents:  # `ip netns exec` gives all of them a mount of it
            agent.kill()
        await asyncio.to_thread(disk.repair)
    for agent in made.agents:
        if not agent.runs:
            agent.start()


@scenario(limit_s=600)
async def full_while_compacting(turns: int = 3) -> Result:
    """Much is deleted; while the node compacts what is left, its disk is full and commits fail.

    The process goes on, and takes writes again once there is room.
    """
    violations, seen = Violations(), []
    with small_disk("compact", 160) as disk:
        async with lo_cluster("compact", addresses=1) as (made, _):
            n1 = made.add(1, data_dir=disk.mount / "n1")
            await made.start_all()
            for _ in range(turns):
                await _write_and_delete(n1)
                await asyncio.to_thread(disk.fill, 3_000_000)
                seen.append(await _large_writes(n1, 15))
                await asyncio.to_thread(disk.empty)
                violations.unless(n1.runs, f"the process ended: {n1.last_lines(2)}")
                if not n1.runs:
                    break
                takes_s = await eventually("n1 takes writes", lambda: _takes(n1), 60)
                seen[-1]["takes writes after s"] = int(takes_s)
            before = len(await n1.entries()) if n1.runs else 0
            n1.restart()
            await all_ready([n1])
            after = len(await n1.entries())
            violations.unless(after == before, f"{before} keys before a restart, {after} after it")
            return violations.result(seen=seen, log=n1.last_lines(), bugs=made.bugs())


async def _write_and_delete(agent: Agent) -> None:
    """Returns shortly before the node compacts, which it does 25 s after it has collected much."""
    for start in range(0, 40_000, 200):
        keys = [f"k/{number}" for number in range(start, start + 200)]
        await agent.batch([{"put": key, "value": os.urandom(300).hex()} for key in keys])
    for start in range(0, 36_000, 200):
        keys = [f"k/{number}" for number in range(start, start + 200)]
        await agent.batch([{"delete": key} for key in keys])

    async def collected() -> bool:
        return not await agent.statistics("certificates_waiting")

    await eventually("all tombstones are collected", collected)
    await asyncio.sleep(21)


async def _large_writes(agent: Agent, seconds: float) -> Counter[str]:
    client, answers, end_s = HttpClient(agent), Counter[str](), time.monotonic() + seconds
    while time.monotonic() < end_s and agent.runs:
        path = f"/kv/x/{answers.total() % 50}"
        try:
            answer = await client.ask("PUT", path, os.urandom(LARGE_BYTES), timeout=5)
            answers[str(answer.status)] += 1
        except NoAnswerError:
            answers["no answer"] += 1
    client.close()
    return answers
