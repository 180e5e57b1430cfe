"""Links that corrupt, swallow, or are cut between some"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from random import Random

from ..agent import Agent
from ..cluster import lo_cluster, tun_cluster
from ..http_client import HttpClient, NoAnswerError
from ..judge import judge
from ..load import Load, Mix
from ..namespace import cut_both
from ..probe import all_equal
from ..scenario import OptionError, Result, Violations, scenario

QUICK_WAN = (
    "probe_interval_s=1, probe_timeout_s=0.6, suspicion_multiplier=2, suspicion_max_multiplier=2, "
    "gossip_interval_s=0.2, push_pull_interval_s=5, rumor_settling_s=1, join_retry_s=0.5"
)
OLD_S = 30.0
"""Anti-entropy by way of a third node is a matter of some seconds, in any profile."""


@scenario()
async def corrupted(
    kind: str = "swap",
    share: float = 0.01,
    seconds: float = 40.0,
    seed: int = 1,
    sealed: bool = False,
    pad: int = 600,
) -> Result:
    """Packets are corrupted: no value may be wrong, nothing acknowledged lost.

    kind=flip fails the checksums of UDP and TCP; kind=swap passes them, as one packet in 65,536
    does of itself. share: of all packets. pad: bytes of each value. sealed=1: with a keyring.
    """
    if kind not in ("flip", "swap"):
        raise OptionError("kind is flip or swap")
    async with tun_cluster(f"corrupted-{kind}", addresses=3, seed=seed) as (made, net):
        made.add_all(3, args=made.keyring() if sealed else [])
        await made.start_all()
        load = Load(made.agents, seed, Mix(pad_bytes=pad))
        load.start()
        net.weather(**{kind: share})
        await asyncio.sleep(seconds)
        net.heal()
        await asyncio.sleep(2)
        await load.stop()
        result = await judge(load, made.agents)
        dropped: Counter[str] = Counter()
        for agent in made.agents:
            dropped.update(await agent.statistics("dropped", "refused"))
        return {"dropped": dropped, "bugs": made.bugs(), **result}


@scenario()
async def black_hole(octets: int = 1000, seconds: float = 25.0) -> Result:
    """Long packets vanish between n1 and the others: a path MTU that nobody tells of.

    Data crosses none the less, or the doctor finds something; and it heals.
    """
    async with tun_cluster("black-hole", 3) as (made, net):
        n1, n2, _ = made.agents
        for source, target in ((1, 2), (2, 1), (1, 3), (3, 1)):
            net.way(source, target, hole_bytes=octets)
        for number in range(300):
            await n2.put(f"p/{number}", "x" * 300)
        await n2.put("b/1", "y" * 200_000)
        await asyncio.sleep(seconds)
        has, large = len(await n1.entries("p/")), (await n1.get("b/1")).status
        doctor = await n1.doctor()
        net.heal()
        healed_s = await all_equal(made.agents, 120)
        violations = Violations()
        crossed = has == 300 and large == 200
        text = f"n1 has {has} of 300 keys, and its doctor finds nothing"
        violations.unless(crossed or not doctor["healthy"], text)
        findings = [each["text"] for each in doctor["findings"]]
        return violations.result(has=has, large=large, findings=findings, healed_s=healed_s)


@scenario()
async def paused_peer(pause_s: float = 20.0, seconds: float = 40.0, profile: str = "lan") -> Result:
    """One of three stands still while large values are written on another.

    Once it is known to be gone, writes are taken again; and afterwards all are equal.
    """
    async with lo_cluster("paused", 3, profile=profile) as (made, _):
        n1, _, n3 = made.agents
        answers: dict[str, Counter[str]] = {"before": Counter(), "paused": Counter()}
        await _large_writes(n1, 5, answers["before"])
        memory_mb = [n1.memory_kb() // 1024]
        n3.pause()
        await _large_writes(n1, pause_s, answers["paused"])
        memory_mb.append(n1.memory_kb() // 1024)
        answers["at the end of it"] = await _large_writes(n1, 1, Counter())
        n3.resume()
        answers["after"] = await _large_writes(n1, max(1.0, seconds - pause_s), Counter())
        memory_mb.append(n1.memory_kb() // 1024)
        healed_s = await all_equal(made.agents, 120)
        violations = Violations()
        for phase, found in answers.items():
            violations.unless(found["200"] > 0, f"no write is taken: {phase}: {dict(found)}")
        return violations.result(answers=answers, memory_mb=memory_mb, healed_s=healed_s)


async def _large_writes(agent: Agent, seconds: float, answers: Counter[str]) -> Counter[str]:
    client, end_s = HttpClient(agent), time.monotonic() + seconds
    while time.monotonic() < end_s:
        path = f"/kv/b/{answers.total() % 40}"
        try:
            answer = await client.ask("PUT", path, os.urandom(200_000), timeout=20)
            answers[str(answer.status)] += 1
        except NoAnswerError:
            answers["no answer"] += 1
        await asyncio.sleep(0.02)
    client.close()
    return answers


@scenario()
async def one_link_cut(
    seconds: float = 25.0, what: str = "link", profile: str = "lan", count: int = 3
) -> Result:
    """Two of three nodes do not reach each other: writes cross by way of the third.

    what: link (both ways), way (one of them), udp (all UDP, of all nodes).
    """
    async with lo_cluster(f"cut-{what}", count, profile=profile) as (made, net):
        n1, n2, *_ = made.agents
        await n1.put("p/1", "0", "?wait=all&timeout=5s")
        await asyncio.sleep(2)
        if what == "udp":
            net.drop_udp()
        elif what == "way":
            net.cut(1, 2)
        elif what == "link":
            cut_both(net, 1, 2)
        else:
            raise OptionError("what is link, way or udp")
        begin_s, ages_s, written_s = time.monotonic(), [], [time.monotonic()]
        while time.monotonic() < begin_s + seconds:
            await n1.put("p/1", str(len(written_s)))
            written_s.append(time.monotonic())
            seen = int((await n2.get("p/1")).body)
            late = seen + 1 < len(written_s)
            ages_s.append(time.monotonic() - written_s[seen + 1] if late else 0.0)
            await asyncio.sleep(0.05)
        members = await n1.members()
        net.heal()
        healed_s = await all_equal(made.agents, 60)
        ages_s.sort()
        violations = Violations()
        text = f"reads of n2 are up to {ages_s[-1]:.0f} s old, though a third node reaches both"
        violations.unless(ages_s[-1] < OLD_S, text)
        p50, p99 = (round(ages_s[int(len(ages_s) * share)], 2) for share in (0.5, 0.99))
        stale_s = {"p50": p50, "p99": p99, "max": round(ages_s[-1], 2)}
        return violations.result(stale_s=stale_s, members=members, healed_s=healed_s)


@scenario()
async def two_datacenters(seconds: float = 50.0, seed: int = 1) -> Result:
    """Two datacenters of two gateways and a plain node each: gateways are killed and cut off, under
    load."""
    rng = Random(seed)
    async with lo_cluster("two-datacenters", addresses=6) as (made, net):
        gateways = [1, 2, 4, 5]
        for number in range(1, 7):
            near = range(1, 4) if number < 4 else range(4, 7)
            args = ["--datacenter", "paris" if number < 4 else "tokyo"]
            if number in gateways:
                args += ["--gateway", "--wan", made.wan_address(number)]
                for gateway in gateways:
                    args += ["--join-wan", made.wan_address(gateway)]
            join = [made.address(each) for each in near]
            made.add(number, join=join, args=args, env={"KVGOSSIP_WAN_PARAMETERS": QUICK_WAN})
        await made.start_all()
        load = Load(made.agents, seed, Mix(pause_s=0.08, waits=False))
        load.start()
        faults: Counter[str] = Counter()
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            kind = rng.choice(("kill both of one", "kill one", "cut", "one way"))
            faults[kind] += 1
            side = rng.choice(((1, 2), (4, 5)))
            killed = side if kind == "kill both of one" else (rng.choice(side),)
            for here in (1, 2, 3) if kind in ("cut", "one way") else ():
                for there in (4, 5, 6):
                    net.cut(here, there)
                    if kind == "cut":
                        net.cut(there, here)
            victims = [made.agents[each - 1] for each in killed if kind.startswith("kill")]
            for agent in victims:
                agent.kill()
            await asyncio.sleep(rng.uniform(2, 8))
            net.heal()
            for agent in victims:
                agent.start()
            await asyncio.sleep(rng.uniform(1, 4))
        await load.stop()
        result = await judge(load, made.agents, patience_s=120)
        return {"faults_made": faults, "bugs": made.bugs(), **result}
