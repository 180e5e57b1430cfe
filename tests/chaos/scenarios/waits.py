"""What a write with ?wait= is answered after a restart"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter

from ..agent import Agent
from ..cluster import cluster, lo_cluster
from ..http_client import HttpClient, NoAnswerError
from ..lo_net import LoNet
from ..namespace import cut_off
from ..probe import PATIENCE_S, eventually
from ..scenario import Result, Violations, scenario
from ..tun_net import TunNet

RESTARTS = 5
ASKED_S = 1.5
"""After a start: a node settles within a second where its peers answer."""
CUT_ASKED_S = 6.0


@scenario()
async def wait_after_restart_in_minority(data: bool = True, count: int = 5) -> Result:
    """One node is cut off and restarts there: no `?wait=` of more than 1 may be met.

    It has met nobody in this life. The others count that its disk names, and the addresses of
    its --join: without them there is no majority. Then the node is lost, and with it what it
    was alone with.
    """
    violations = Violations()
    async with lo_cluster("minority", count, data=data) as (made, net):
        n1, n2, *_ = made.agents
        await n1.put("before", "1", "?wait=all&timeout=5s")
        cut_off(net, 1, count)
        before = (await n1.put("cut", "1", "?wait=majority&timeout=1s")).status
        n1.restart()
        await eventually("n1 answers", n1.status)
        answers = await _ask_alone(n1)
        met = Counter(need for need, status, _ in answers if status == 200)
        n1.kill()
        net.heal()
        lost = (await n2.get("lie")).status == 404
        violations.unless(bool(answers), "the node that restarted in a minority answers nothing")
        violations.unless(
            not met,
            f"cut off as 1 of {count} and restarted, n1 answers 200 to wait= {dict(met)}",
        )
        return violations.result(
            majority_before_the_restart=before,
            asked=len(answers),
            answers=answers[:6],
            lost_with_the_node=lost,
        )


async def _ask_alone(agent: Agent) -> list[tuple[str, int, list[str]]]:
    """What was asked for, the status, and who is said to hold it."""
    answers, end_s = [], time.monotonic() + CUT_ASKED_S
    while time.monotonic() < end_s:
        for need in ("majority", "all", "3"):
            with contextlib.suppress(NoAnswerError):
                answer = await agent.put("lie", need, f"?wait={need}&timeout=300ms", timeout=3)
                holders = [each["name"] for each in answer.document.get("held_by", [])]
                answers.append((need, answer.status, holders))
        await asyncio.sleep(0.3)
    return answers


@scenario()
async def wait_in_rolling_restart(
    data: bool = True, count: int = 3, profile: str = "lan", keys: int = 0, delay_ms: int = 0
) -> Result:
    """A node is killed and starts again, five times: each answer 200 to `?wait=` is of a majority.

    As soon as HTTP answers it is asked for `majority` and `all`, again and again. delay_ms: from
    one node to another.
    """
    with TunNet(count) if delay_ms else LoNet(count) as net:
        if isinstance(net, TunNet):
            net.weather(delay_s=delay_ms / 1000)
        async with cluster(net, "rolling-wait", count, data=data, profile=profile) as made:
            n1 = made.agents[0]
            for number in range(keys):
                await n1.put(f"k/{number}", "x" * 100)
            asked, short = 0, []
            for _ in range(RESTARTS):
                n1.restart()
                answers = await _ask_as_soon_as_possible(HttpClient(n1))
                asked += len(answers)
                short += [each for each in answers if len(each[2]) < count // 2 + 1]
                await asyncio.sleep(1)
    violations = Violations()
    violations.unless(asked > 0, "no write with wait= was met in any life")
    text = f"{len(short)} answers 200 of less than a majority in {RESTARTS} restarts: {short[:1]}"
    violations.unless(not short, text)
    needs = Counter(need for _, need, _ in short)
    return violations.result(met=asked, met_by_too_few=dict(needs), examples=short[:6])


async def _ask_as_soon_as_possible(client: HttpClient) -> list[tuple[float, str, list[str]]]:
    """The answers 200: milliseconds since the first answer, what was asked, who holds it."""
    found, first_s, end_s = [], 0.0, time.monotonic() + PATIENCE_S
    while time.monotonic() < (first_s + ASKED_S if first_s else end_s):
        for need in ("majority", "all"):
            try:
                path = f"/kv/x?wait={need}&timeout=2s"
                answer = await client.ask("PUT", path, b"1", timeout=4)
            except NoAnswerError:
                await asyncio.sleep(0.005)
                continue
            first_s = first_s or time.monotonic()
            if answer.status == 200:
                holders = [each["name"] for each in answer.document["held_by"]]
                found.append((round(1000 * (time.monotonic() - first_s), 1), need, holders))
    client.close()
    return found
