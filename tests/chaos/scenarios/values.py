"""Values: times to live under skew, limits that differ, imports under load"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter

from ..agent import Agent
from ..cluster import lo_cluster
from ..fake_clock import FakeClock
from ..http_client import Answer, NoAnswerError
from ..judge import judge
from ..load import Load
from ..probe import NeverError, all_ready
from ..scenario import Result, Violations, scenario

TTL_S = 2.0
SKEW_S = 8.0
MIB = 2**20


class Leases:
    """Values with a time to live, and what each agent says of them."""

    def __init__(self, agents: list[Agent]) -> None:
        self._agents = agents
        self._written_s: dict[str, float] = {}
        self._shown: set[tuple[str, str]] = set()
        self._gone: set[tuple[str, str]] = set()
        self.back: list[str] = []
        self.early: list[str] = []

    async def write(self) -> None:
        number = len(self._written_s)
        writer, key = self._agents[number % len(self._agents)], f"t/{number}"
        begin_s = time.monotonic()
        answer = await writer.ask("PUT", f"/kv/{key}?ttl={TTL_S}s", b"1")
        self._written_s[key] = begin_s
        if answer.status == 200 and (await writer.get(key)).status == 404:
            asked_s = time.monotonic() - begin_s
            if asked_s < TTL_S:
                self.early.append(f"{key} on {writer.name} after {asked_s:.2f} s")

    async def read(self) -> None:
        """What a node has shown, and shows no more, stays gone from it. Before that it may lack it:
        it refuses what is too far ahead of its clock until that is no longer so."""
        for agent in self._agents:
            for key in list(self._written_s)[-60:]:
                status = (await agent.get(key)).status
                at = (agent.name, key)
                if status == 404 and at in self._shown:
                    self._gone.add(at)
                elif status == 200 and at in self._gone:
                    self.back.append(f"{key} on {agent.name}")
                elif status == 200:
                    self._shown.add(at)


@scenario()
async def expiry_under_skew(seconds: float = 25.0) -> Result:
    """Values with a time to live, on nodes whose clocks are 8 s ahead and 8 s behind.

    None goes at once from the node that took it, none comes back where it was gone, none is left
    once all clocks have passed it.
    """
    async with lo_cluster("expiry", addresses=3) as (made, _):
        for number, offset_s in ((1, 0.0), (2, SKEW_S), (3, -SKEW_S)):
            clock = FakeClock(made.folder, f"n{number}", offset_s)
            made.add(number, join=made.addresses(3), env=clock.env)
        await made.start_all()
        leases, end_s = Leases(made.agents), time.monotonic() + seconds
        while time.monotonic() < end_s:
            await leases.write()
            await leases.read()
            await asyncio.sleep(0.2)
        await asyncio.sleep(TTL_S + 2 * SKEW_S + 5)
        left = {agent.name: len(await agent.entries("t/")) for agent in made.agents}
        violations = Violations()
        early, back = leases.early, leases.back
        violations.unless(not early, f"{len(early)} go before their time, such as {early[:1]}")
        violations.unless(not back, f"{len(back)} come back, such as {back[:1]}")
        violations.unless(not any(left.values()), f"some never expire: {left}")
        waiting = [await agent.statistics("certificates_waiting") for agent in made.agents]
        return violations.result(left=left, waiting=waiting)


@scenario()
async def mixed_value_limit(octets: int = 3_000_000, others: int = 300) -> Result:
    """Two nodes take values of 4 MiB; a third one, which comes later and empty, takes 1 MiB.

    One value that is too large for it costs it that value: it is named in a log and by the doctor,
    and all other keys are there.
    """
    async with lo_cluster("limits", addresses=3) as (made, _):
        for number in (1, 2):
            env = {"KVGOSSIP_VALUE_BYTES_MAX": str(4 * MIB)}
            made.add(number, join=made.addresses(2), data=False, env=env)
        await made.start_all()
        n1, _ = made.agents
        for number in range(others):
            await n1.put(f"p/{number}", "x" * 100)
        taken = (await n1.put("big", os.urandom(octets), timeout=30)).status
        await asyncio.sleep(4)
        n3 = made.add(3, join=made.addresses(3), data=False)
        n3.start()
        violations = Violations()
        violations.unless(taken == 200, f"harness: the large value is answered {taken}")
        try:
            await all_ready([n3], 45)
        except NeverError as error:
            violations.append(f"it never settles: {error}")
        has = (await n3.status())["keys"]
        violations.unless(has == others, f"n3 has {has} of {others} keys that are not too large")
        fresh = await _put_or_none(n1, "p/fresh", "?wait=all&timeout=5s")
        violations.unless(fresh == 200, f"a write with wait=all is answered {fresh}")
        words = [line for each in made.agents for line in each.log_lines("big") if "WARN" in line]
        violations.unless(bool(words), "no log names the value that is left out")
        doctor = await n1.doctor()
        violations.unless(not doctor["healthy"], "n3 lacks a value, and the doctor finds nothing")
        return violations.result(
            keys_on_n3=has,
            counters=await n3.statistics("exchange", "broken", "refused"),
            findings=[each["text"] for each in doctor["findings"]],
            words=words[-3:],
            log_n3=n3.last_lines(),
        )


async def _put_or_none(agent: Agent, key: str, query: str) -> int | None:
    try:
        return (await agent.put(key, "1", query)).status
    except NoAnswerError:
        return None


@scenario()
async def import_during_writes(seed: int = 1) -> Result:
    """Exports are taken under load, and imported under load: nothing newer is lost, nothing deleted
    comes back."""
    answers: Counter[str] = Counter()
    async with lo_cluster("import", 3) as (made, _):
        n1, n2, _ = made.agents
        load = Load(made.agents, seed)
        load.start()
        exports = []
        for _ in range(4):
            await asyncio.sleep(4)
            exports.append(_entries(await n1.ask("GET", "/export", timeout=30)))
            await asyncio.sleep(2)
            older = exports[len(exports) // 2]
            lines = {"Content-Type": "application/x-ndjson"}
            answer = await n2.ask("POST", "/import", older, lines, timeout=30)
            answers[str(answer.status)] += 1
        await asyncio.sleep(3)
        await load.stop()
        result = await judge(load, made.agents)
        if set(answers) != {"200"}:
            result["violation"] += f" harness: imports are answered {dict(answers)}"
        return {"imports": answers, "bugs": made.bugs(), **result}


def _entries(export: Answer) -> bytes:
    """Without the first and the last line, which are about the export itself."""
    return b"\n".join(export.body.strip().split(b"\n")[1:-1])
