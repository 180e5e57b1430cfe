"""Wall clocks that are wrong"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from random import Random

from ..agent import Agent
from ..cluster import Cluster, lo_cluster
from ..fake_clock import FakeClock
from ..http_client import NoAnswerError
from ..judge import judge
from ..load import Load, Mix
from ..probe import NeverError, all_ready, eventually
from ..record import ACKNOWLEDGED, Record
from ..scenario import Result, Violations, scenario
from ..watch import Watch

ARRIVES_S = 15.0
"""What was acknowledged is on all nodes by then: gossip and anti-entropy take a second or two."""
NOTICED_S = 3.0
"""A fake clock is looked up each second, and a node needs a tick to see it."""
STALE_S = 5.0
"""Reads of a ready node that are older than that are not of gossip, but of refused entries."""


def _add_all(made: Cluster, count: int, wrong: int, clock: FakeClock, profile: str) -> list[Agent]:
    """Of the agents number `wrong` has that clock; 0: all of them."""
    for number in range(1, count + 1):
        env = clock.env if wrong in (0, number) else {}
        made.add(number, join=made.addresses(count), env=env, profile=profile)
    return made.agents


class Acknowledged:
    """What one agent has acknowledged of keys of its own, and where that is."""

    def __init__(self, agent: Agent, prefix: str) -> None:
        self._agent, self._prefix = agent, prefix
        self.answers: Counter[int] = Counter()
        self.keys: list[str] = []
        self.words = ""

    async def put(self, count: int, query: str = "") -> None:
        for number in range(count):
            key = f"{self._prefix}/{number}"
            answer = await self._agent.put(key, "1", query)
            self.answers[answer.status] += 1
            if answer.status in ACKNOWLEDGED:
                self.keys.append(key)
            else:
                self.words = answer.text[:300]

    async def missing_on(self, agents: list[Agent]) -> dict[str, int]:
        """How many of the keys each agent lacks; those that lack none are left out."""
        lacks = {}
        for agent in agents:
            found = await agent.entries(f"{self._prefix}/")
            lacks[agent.name] = sum(key not in found for key in self.keys)
        return {name: count for name, count in lacks.items() if count}

    async def judge(self, violations: Violations, agents: list[Agent]) -> None:
        """What was acknowledged is everywhere; what was refused, the doctor knows of."""
        lacking, count = await self.missing_on(agents), len(self.keys)
        text = f"of {count} writes that {self._agent.name} acknowledged, missing: {lacking}"
        violations.unless(not lacking, text)
        if self.answers[503]:
            healthy = (await self._agent.doctor())["healthy"]
            text = f"{self._agent.name} refuses writes, and its doctor finds nothing"
            violations.unless(not healthy, text)


@scenario()
async def clock_wrong_at_boot(offset_s: float = 3600.0, alone: bool = True) -> Result:
    """A node boots with a clock that is ahead, takes a write, and then the clock is set right.

    From then on it either refuses writes, and says why, or they reach all. alone=1: the others are
    off as well, and come 2 s later, as after a power cut of the site.
    """
    violations = Violations()
    async with lo_cluster("boot-clock", addresses=3) as (made, _):
        clock = FakeClock(made.folder, "n1", offset_s)
        n1, n2, n3 = _add_all(made, 3, 1, clock, "local")
        await made.start_all()
        await asyncio.sleep(NOTICED_S)
        for agent in made.agents if alone else [n1]:
            agent.kill()
        n1.start()
        at_boot: list[int] = []

        async def written() -> bool:
            at_boot.append((await n1.put("at-boot", "1", timeout=2)).status)
            return True

        await eventually("n1 answers", written, pause_s=0.002)
        await asyncio.sleep(0.5)
        clock.set(0)
        await asyncio.sleep(2)
        for agent in (n2, n3):
            if not agent.runs:
                agent.start()
        await all_ready((n2, n3))
        await asyncio.sleep(5)
        later, after = Acknowledged(n1, "later"), Acknowledged(n1, "after")
        await later.put(3, "?wait=all&timeout=3s")
        await asyncio.sleep(ARRIVES_S)
        await later.judge(violations, made.agents)
        n1.restart()
        await eventually("n1 answers", n1.status)
        await asyncio.sleep(NOTICED_S)
        await after.put(3)
        await asyncio.sleep(ARRIVES_S)
        await after.judge(violations, made.agents)
        return violations.result(
            at_boot=at_boot,
            later=later.answers,
            after_another_restart=after.answers,
            words=later.words or after.words,
            refused_by_n2=await n2.statistics("refused"),
            log_n1=n1.log_lines("clock", "ahead")[-4:],
            log_n2=n2.log_lines("clock", "ahead")[-4:],
        )


@scenario()
async def clock_jumps(
    offset_s: float = 30.0, seconds: float = 60.0, seed: int = 1, count: int = 3
) -> Result:
    """The clock of one node jumps ahead and back, under load; then all is judged."""
    rng = Random(seed)
    async with lo_cluster("clock-jumps", addresses=count) as (made, _):
        clock = FakeClock(made.folder, "n1")
        _add_all(made, count, 1, clock, "local")
        await made.start_all()
        load = Load(made.agents, seed, Mix(ttl=True))
        load.start()
        end_s, jumps = time.monotonic() + seconds, []
        while time.monotonic() < end_s:
            jumps.append(rng.choice((offset_s, -offset_s, 0.0, 5.0, -5.0, 9.0)))
            clock.set(jumps[-1])
            await asyncio.sleep(rng.uniform(2, 6))
        clock.set(0)
        await load.stop()
        await asyncio.sleep(offset_s + NOTICED_S)
        result = await judge(load, made.agents, patience_s=120)
        return {"jumps": jumps, "bugs": made.bugs(), **result}


@scenario()
async def clock_behind_at_start(
    offset_s: float = -3600.0, profile: str = "lan", fix_after_s: float = 15.0
) -> Result:
    """An empty node joins with a clock that is behind, as a machine does before NTP has set it.

    It is not ready, and its log says why; where it refuses what the others have, by name. It does
    not answer 404, nor sends a watcher `synced`, without what the others have. With its
    clock right it is ready, and has everything.
    """
    async with lo_cluster("behind", addresses=3) as (made, _):
        clock = FakeClock(made.folder, "n3", offset_s)
        for number in (1, 2):
            made.add(number, join=made.addresses(2), profile=profile)
        await made.start_all()
        n1, _ = made.agents
        for number in range(100):
            await n1.put(f"p/{number}", "1", "?wait=all&timeout=5s")
        join = made.addresses(3)
        n3 = made.add(3, join=join, profile=profile, data=False, env=clock.env)
        n3.start()
        await eventually("n3 answers", n3.status)
        watch = Watch(n3, Record())
        watch.start()
        answers, ready_s = await _asked_while_behind(n3, fix_after_s)
        synced = [each.has for each in watch.resyncs]
        keys = (await n3.status())["keys"]
        findings = [each["text"] for each in (await n1.doctor())["findings"]]
        refused, words = await n3.statistics("refused"), n3.log_lines("clock")
        named = any("n1" in line or "n2" in line for line in words)
        violations = Violations()
        violations.unless(bool(answers), "harness: it was never asked")
        violations.unless(ready_s is None, f"ready after {ready_s} s with {keys} of 100 keys")
        denied = answers["404"]
        violations.unless(not denied, f"{denied} answers 404 for a key that the others have")
        text = f"a watcher gets `synced` with {synced} of 100 keys"
        violations.unless(all(has >= 100 for has in synced), text)
        violations.unless(bool(words), "its log says nothing of the clock")
        text = f"its log does not name a peer whose entries it refuses: {refused}"
        violations.unless(named or not refused, text)
        clock.set(0)
        violations += await _catches_up(n3)
        await watch.stop()
        return violations.result(
            answers=answers,
            synced_with=synced,
            keys_while_behind=keys,
            refused=refused,
            doctor_of_n1=findings,
            log_n3=n3.last_lines(12),
        )


async def _asked_while_behind(agent: Agent, seconds: float) -> tuple[Counter[str], float | None]:
    """Answers to a read by status, and when it was first ready."""
    answers: Counter[str] = Counter()
    ready_s, begin_s = None, time.monotonic()
    while time.monotonic() < begin_s + seconds:
        if ready_s is None and await agent.ready():
            ready_s = round(time.monotonic() - begin_s, 2)
        try:
            answer = await agent.get("p/7", timeout=1)
            answers[f"{answer.status}{' KV-Stale' if answer.stale else ''}"] += 1
        except NoAnswerError:
            answers["no answer"] += 1
        await asyncio.sleep(0.05)
    return answers, ready_s


async def _catches_up(agent: Agent) -> list[str]:
    async def has_all() -> bool:
        return bool((await agent.status())["keys"] >= 100) and await agent.ready()

    try:
        await eventually("it is ready with all keys", has_all, 90)
    except NeverError as error:
        return [f"with its clock right: {error}"]
    return []


@scenario()
async def clock_behind_running(offset_s: float = -30.0, seconds: float = 20.0) -> Result:
    """The clock of a running node is set back: while its reads are old, it is not ready, and says
    so."""
    async with lo_cluster("back", addresses=3) as (made, _):
        clock = FakeClock(made.folder, "n3")
        n1, _, n3 = _add_all(made, 3, 3, clock, "lan")
        await made.start_all()
        await n1.put("p/1", "0", "?wait=all&timeout=5s")
        await asyncio.sleep(2)
        clock.set(offset_s)
        await asyncio.sleep(12)
        ages_s, ready = await _ages(n1, n3, seconds)
        status, words = await n3.status(), n3.log_lines("clock")
        stale_s = round(max(ages_s), 1)
        violations = Violations()
        if stale_s > STALE_S:
            violations.unless(not ready, f"ready, and its reads are up to {stale_s} s old")
            violations.unless(bool(words), "its log says nothing of the clock")
        return violations.result(
            stale_s=stale_s,
            ready=ready,
            settled=status["settled"],
            clock_ahead_s=status["clock_ahead_s"],
            doctor=[each["text"] for each in (await n1.doctor())["findings"]],
            log_n3=n3.last_lines(),
        )


async def _ages(writer: Agent, reader: Agent, seconds: float) -> tuple[list[float], bool]:
    """How old each read was: the time since the first write that it did not see. And whether the
    reader was ready whenever a read was too old."""
    begin_s, ages_s, ready = time.monotonic(), [0.0], False
    written_s = [begin_s]
    while time.monotonic() < begin_s + seconds:
        number = len(written_s)
        await writer.put("p/1", str(number))
        written_s.append(time.monotonic())
        answer = await reader.get("p/1")
        if answer.status == 200 and not answer.stale and int(answer.body) < number:
            ages_s.append(time.monotonic() - written_s[int(answer.body) + 1])
            ready = ready or (ages_s[-1] > STALE_S and await reader.ready())
        await asyncio.sleep(0.1)
    return ages_s, ready


@scenario()
async def clock_glitch_pair(
    offset_s: float = 3600.0, glitch_s: float = 3.0, count: int = 2
) -> Result:
    """The clock of one running node is ahead for some seconds, in which it is asked for one write.

    With its clock right again it either refuses writes, and says why, or they reach all.
    """
    violations = Violations()
    async with lo_cluster("glitch", addresses=count) as (made, _):
        clock = FakeClock(made.folder, "n1")
        n1, n2, *_ = _add_all(made, count, 1, clock, "local")
        await made.start_all()
        await n1.put("p/1", "1", "?wait=all&timeout=5s")
        await asyncio.sleep(NOTICED_S)
        clock.set(offset_s)
        await asyncio.sleep(1.5)
        glitch = await n1.put("p/2", "2")
        await asyncio.sleep(glitch_s)
        clock.set(0)
        await asyncio.sleep(NOTICED_S)
        later = Acknowledged(n1, "later")
        await later.put(5)
        over = (await n2.put("p/1", "by n2")).status, (await n1.put("p/1", "by n1, later")).status
        await asyncio.sleep(ARRIVES_S)
        await later.judge(violations, made.agents)
        values = [(await agent.get("p/1")).text for agent in made.agents]
        if over == (200, 200):
            violations.unless(len(set(values)) == 1, f"the nodes differ in p/1: {values}")
        return violations.result(
            in_the_glitch=(glitch.status, glitch.text[:160]),
            later=later.answers,
            words=later.words,
            over=over,
            values=values,
            clock_ahead_s=(await n1.status())["clock_ahead_s"],
            refused_by_n2=await n2.statistics("refused"),
            log_n1=n1.last_lines(3),
            log_n2=n2.last_lines(3),
        )


@scenario()
async def all_clocks_set_back(
    offset_s: float = 3600.0, restart: bool = False, writers: int = 1
) -> Result:
    """All nodes run on a clock that is an hour ahead, which is then set right for all of them.

    From then on they refuse writes, and say why, or what they acknowledge is on all of them.
    restart=1: and so after all were restarted. writers: how many nodes are asked.
    """
    violations = Violations()
    async with lo_cluster("set-back", addresses=3) as (made, _):
        clock = FakeClock(made.folder, "site", offset_s)
        agents = _add_all(made, 3, 0, clock, "local")
        await made.start_all()
        for number in range(10):
            await agents[number % 3].put(f"p/{number}", "1", "?wait=all&timeout=5s")
        clock.set(0)
        await asyncio.sleep(8)
        answers = {"set back": await _write_on(agents, writers, "a", violations)}
        if restart:
            for agent in agents:
                agent.restart()
            await eventually("n1 answers", agents[0].status)
            await asyncio.sleep(NOTICED_S)
            answers["restarted"] = await _write_on(agents, writers, "b", violations)
        logs = {agent.name: agent.log_lines("WARN", "ERROR")[-3:] for agent in agents}
        return violations.result(answers=answers, logs=logs)


async def _write_on(
    agents: list[Agent], writers: int, prefix: str, violations: Violations
) -> dict[str, Counter[int]]:
    written = [Acknowledged(agent, f"{prefix}/{agent.name}") for agent in agents[:writers]]
    for each in written:
        await each.put(12)
        await each.put(1, "?wait=majority&timeout=3s")
    await asyncio.sleep(ARRIVES_S)
    for each in written:
        await each.judge(violations, agents)
    names = [agent.name for agent in agents[:writers]]
    return {name: each.answers for name, each in zip(names, written, strict=True)}
