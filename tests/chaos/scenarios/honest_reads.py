"""What a node says of keys that it lacks, after a restart"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from ..agent import Agent
from ..cluster import Cluster, lo_cluster
from ..http_client import Answer, HttpClient, NoAnswerError
from ..lo_net import LoNet
from ..namespace import cut_both
from ..probe import PATIENCE_S, seen_by
from ..record import Record
from ..scenario import Result, Violations, scenario
from ..watch import Watch

KEYS = 200
CALM_S = 3.0
"""No wrong answer for so long: it has caught up."""


class Reader:
    """Asks a node that has just started for keys that all others have, until it has them.

    `denials` are 404s: `open_denials` those of them that do not say `KV-Stale: true`.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.answers: Counter[str] = Counter()
        self.denials = self.open_denials = self.stale_as_truth = 0
        self.denied_s = 0.0

    async def read(self, keys: list[str], expect: str, patience_s: float = PATIENCE_S) -> None:
        """Of the keys all have the value `expect`."""
        client, first_s, wrong_s = HttpClient(self._agent), 0.0, 0.0
        end_s, number = time.monotonic() + patience_s, 0
        while time.monotonic() < end_s:
            number = (number + 37) % len(keys)
            await asyncio.sleep(0.005)
            try:
                ready = (await client.ask("GET", "/readyz", timeout=2)).status == 200
                answer = await client.ask("GET", f"/kv/{keys[number]}", timeout=2)
            except NoAnswerError:
                continue
            now_s = time.monotonic()
            first_s = first_s or now_s
            if self.take(answer, expect, ready):
                if now_s - (wrong_s or first_s) > CALM_S:
                    break
            else:
                wrong_s = now_s
        self.denied_s = round(wrong_s - first_s, 2) if wrong_s else 0.0
        client.close()

    def take(self, answer: Answer, expect: str, ready: bool) -> bool:
        """True where it was the right value."""
        stale = " KV-Stale" if answer.stale else ""
        self.answers[f"{answer.status}{stale} {'ready' if ready else 'not ready'}"] += 1
        if answer.status == 404:
            self.denials += 1
            self.open_denials += not answer.stale
        elif answer.status == 200 and answer.text != expect:
            self.stale_as_truth += not answer.stale
        return answer.status == 200 and answer.text == expect

    def judge(self, violations: Violations, *, reachable: bool) -> None:
        """`reachable`: others were there to be asked, so that not even a 404 that says that it may
        be stale is right."""
        name, wrong = self._agent.name, self.denials if reachable else self.open_denials
        text = f"{name} answers 404 {wrong} times, for {self.denied_s} s, for keys that others have"
        violations.unless(wrong == 0, text)
        text = f"{name} answers {self.stale_as_truth} old values without KV-Stale"
        violations.unless(self.stale_as_truth == 0, text)
        has = any(answer.startswith("200") for answer in self.answers)
        violations.unless(has, f"{name} never has what the others have: {dict(self.answers)}")


class Restart:
    """A watched node restarts without its memory, while others keep the keys p/0, p/1, ..."""

    def __init__(self, cluster: Cluster, net: LoNet, watched: Agent) -> None:
        self._cluster, self._net, self._agent = cluster, net, watched
        self._watch, self._reader = Watch(watched, Record()), Reader(watched)

    async def fill(self, writer: Agent) -> None:
        for number in range(KEYS):
            await writer.put(f"p/{number}", "x", "?wait=all&timeout=5s")
        self._watch.start()
        await asyncio.sleep(1)

    async def run(self, killed: list[Agent], others: list[int], cut_s: float) -> Result:
        """All of `killed` restart at once, cut off from `others` for so long."""
        for agent in killed if cut_s else []:
            for other in others:
                cut_both(self._net, agent.number, other)
        healing = asyncio.create_task(self._heal(cut_s))
        had = len(self._watch.table)
        for agent in killed:
            agent.kill()
        for agent in killed:
            agent.start()
        await self._reader.read([f"p/{number}" for number in range(KEYS)], "x")
        await healing
        await self._watch.stop()
        took = [each for each in self._watch.resyncs[1:] if each.lost]
        violations = Violations()
        self._reader.judge(violations, reachable=not cut_s)
        text = f"a watcher gets `synced`, and so loses {[each.lost for each in took]} of {had} keys"
        violations.unless(not took, text)
        answers, log = dict(self._reader.answers), self._agent.last_lines()
        return violations.result(answers=answers, resyncs=self._watch.resyncs, log=log)

    async def _heal(self, cut_s: float) -> None:
        if cut_s:
            await asyncio.sleep(cut_s)
            self._net.heal()


@scenario()
async def founder_restarts_empty(
    profile: str = "lan", cut_s: float = 0.0, join: bool = False
) -> Result:
    """a has no --join, b and c join a; all in memory. a is killed and starts with the same command.

    It may not answer 404 for what b and c have, nor tell a watcher so. cut_s: it cannot reach them
    for so long. join=1: a joins b and c, too: only so can it know of them while it is cut off.
    """
    async with lo_cluster("founder", addresses=3) as (made, net):
        a = made.add(1, name="a", join=made.addresses(3)[1:] if join else (), **_memory(profile))
        b = made.add(2, name="b", join=[made.address(1)], **_memory(profile))
        made.add(3, name="c", join=[made.address(1)], **_memory(profile))
        await made.start_all()
        restart = Restart(made, net, a)
        await restart.fill(b)
        return await restart.run([a], [2, 3], cut_s)


@scenario()
async def seeds_restart_empty(
    profile: str = "lan", data: bool = False, cut_s: float = 0.0, join: bool = False
) -> Result:
    """Two seeds join each other, three nodes join the seeds. Both seeds are killed and start again.

    They may not settle each other, without what the others have. cut_s: they cannot reach the
    others for so long. join=1: the seeds join the others, too.
    """
    async with lo_cluster("seeds", addresses=5) as (made, net):
        for number in range(1, 6):
            addresses = made.addresses(5 if join else 2)
            made.add(number, data=data, profile=profile, join=addresses)
        await made.start_all()
        restart = Restart(made, net, made.agents[0])
        await restart.fill(made.agents[4])
        return await restart.run(made.agents[:2], [3, 4, 5], cut_s)


@scenario()
async def durable_restart_is_stale(
    missed: int = 2000, profile: str = "lan", down_s: float = 3.0
) -> Result:
    """A node is away while keys are written, and comes back with its disk.

    Its peers answer, so until it has asked them it is not ready: 503 for what it lacks, and what it
    has with KV-Stale.
    """
    async with lo_cluster("stale", 3, profile=profile) as (made, _):
        n1, n2, n3 = made.agents
        keys = [f"p/{number}" for number in range(missed)]
        for key in keys[:10]:
            await n1.put(key, "old", "?wait=all&timeout=5s")
        n1.kill()
        await asyncio.sleep(down_s)
        for start in range(0, missed, 100):
            await n2.batch([{"put": key, "value": "new"} for key in keys[start : start + 100]])
        await seen_by(n3, keys[-1])
        await asyncio.sleep(1)
        n1.start()
        reader, violations = Reader(n1), Violations()
        await reader.read(keys, "new", 40)
        reader.judge(violations, reachable=True)
        return violations.result(answers=dict(reader.answers), log=n1.last_lines())


def _memory(profile: str) -> dict[str, object]:
    return {"data": False, "profile": profile}
