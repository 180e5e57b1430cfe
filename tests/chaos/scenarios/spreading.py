"""How late a write is at the last of many members"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from typing import Any

from ..agent import Agent
from ..cluster import lo_cluster
from ..http_client import HttpClient
from ..record import Record
from ..scenario import Result, Violations, scenario
from ..watch import Watch

LATE_S = 0.5
"""The promise: one gossip interval of the profile `lan`, and what a busy machine takes."""
LAG_S = 0.1
"""A loop of this process that was held up for longer saw arrivals later than they were."""
UNSEEN_MAX = 0.05
"""If this process was held up in more than this share of the writes, nothing was measured."""
LAST_S = 10.0


class Arrivals:
    """By version: when a write was sent, and when each member has sent it to its watchers."""

    def __init__(self) -> None:
        self.sent_s: dict[str, float] = {}
        self.arrived_s: dict[str, dict[str, float]] = {}
        self.lags: list[tuple[float, float]] = []

    def hear(self, member: str, version: str) -> None:
        self.arrived_s.setdefault(version, {})[member] = time.monotonic()

    async def measure_lag(self) -> None:
        """When the loop of this process was held up: from when to when."""
        while True:
            begin_s = time.monotonic()
            await asyncio.sleep(0.02)
            if time.monotonic() - begin_s > LAG_S:
                self.lags.append((begin_s, time.monotonic()))

    def held_up_s(self, at_s: float, until_s: float) -> float:
        """For how long of that time this process heard nothing."""
        spans = ((max(at_s, begin_s), min(until_s, end_s)) for begin_s, end_s in self.lags)
        return sum(max(0.0, end_s - begin_s) for begin_s, end_s in spans)

    def judge(self, members: int) -> tuple[Violations, dict[str, Any]]:
        """Each write against `LATE_S`, without the time for which this process was held up."""
        delays_s: list[float] = []
        lacking, late, unseen = 0, 0, 0
        for version, sent_s in self.sent_s.items():
            arrived_s = self.arrived_s.get(version, {})
            if len(arrived_s) < members:
                lacking += 1
                continue
            last_s = max(arrived_s.values())
            delays_s.append(last_s - sent_s)
            if delays_s[-1] > LATE_S:
                is_late = delays_s[-1] - self.held_up_s(sent_s, last_s) > LATE_S
                late, unseen = late + is_late, unseen + (not is_late)
        delays_s.sort()
        violations = Violations()
        count = len(self.sent_s)
        violations.unless(
            not lacking, f"{lacking} of {count} writes are not on all after {LAST_S} s"
        )
        text = f"{late} of {count} writes reach the last member later than {LATE_S} s"
        violations.unless(not late, text)
        text = f"harness: this machine was too busy to see {unseen} of {count} writes"
        violations.unless(unseen <= UNSEEN_MAX * count, text)
        at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        last = len(delays_s) - 1
        shown = {
            name: round(delays_s[int(last * share)], 3) for name, share in at.items() if delays_s
        }
        return violations, {"last_member_s": shown, "late": late, "seen_late": unseen}


class Listener(Watch):
    """A watch that notes when each version arrives."""

    def __init__(self, agent: Agent, arrivals: Arrivals) -> None:
        super().__init__(agent, Record())
        self._arrivals = arrivals

    def hear(self, kind: str, event: dict[str, Any]) -> None:
        super().hear(kind, event)
        if kind == "put":
            self._arrivals.hear(self.agent.name, event["version"])


def busy_s() -> tuple[float, float]:
    """Of all processors of this machine: seconds at work, and seconds in all."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / hertz, sum(ticks) / hertz


@scenario(alone=True, limit_s=600)
async def late_writes(count: int = 20, writes: int = 2000, rate: float = 20.0) -> Result:
    """20 members with default parameters, 2,000 writes on all in turn: none is later than 0.5 s at
    the last member, by the events that its watchers get.

    rate: writes a second. The result says how busy the processors were, what a write costs each
    member, and when this process itself was held up: it does not count what it saw too late.
    """
    arrivals = Arrivals()
    async with lo_cluster("late-writes", count, data=False, profile="lan") as (made, _):
        await asyncio.sleep(5)
        listeners = [Listener(agent, arrivals) for agent in made.agents]
        for listener in listeners:
            listener.start()
        await asyncio.sleep(3)
        lag = asyncio.create_task(arrivals.measure_lag())
        work_s, all_s = busy_s()
        cpu_s = -sum(agent.cpu_s() for agent in made.agents)
        statuses = await _write(made.agents, arrivals, writes, rate)
        work_s, all_s = (now - then for now, then in zip(busy_s(), (work_s, all_s), strict=True))
        cpu_s += sum(agent.cpu_s() for agent in made.agents)
        await asyncio.sleep(LAST_S)
        lag.cancel()
        for listener in listeners:
            await listener.stop()
    violations, facts = arrivals.judge(count)
    violations.unless(statuses["200"] == writes, f"harness: writes are answered {dict(statuses)}")
    return violations.result(
        **facts,
        processors_busy=round(work_s / all_s, 2),
        cpu_ms_per_write_and_member=round(1000 * cpu_s / writes / count, 3),
        held_up=len(arrivals.lags),
    )


async def _write(agents: list[Agent], arrivals: Arrivals, writes: int, rate: float) -> Counter[str]:
    clients, statuses = [HttpClient(agent) for agent in agents], Counter[str]()
    begin_s = time.monotonic()
    for number in range(writes):
        await asyncio.sleep(max(0.0, begin_s + number / rate - time.monotonic()))
        sent_s = time.monotonic()
        client = clients[number % len(clients)]
        answer = await client.ask("PUT", f"/kv/p/{number % 200}", b"x" * 100)
        statuses[str(answer.status)] += 1
        if answer.status == 200:
            arrivals.sent_s[answer.headers["kv-version"]] = sent_s
    for client in clients:
        client.close()
    return statuses
