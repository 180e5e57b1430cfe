"""The answer of /cluster in a cluster of many, for the console: as a node makes it of its members,
but for them nobody runs."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from kvgossip.runtime.reports.cluster_report import (
    ClusterFinding,
    ClusterMember,
    ClusterReport,
    Said,
    Suspicion,
)

ZONES = ("a", "b", "c")
ELSEWHERE = ("oslo", "tokyo")
GATEWAYS = 3
DEAD, SUSPECT, DIFFERENT, LEFT = 3, 4, 5, 2
"""How many are what one is to see."""
REACH_MS = 0.6


def crowd(size: int, seed: int = 1) -> dict[str, Any]:
    """As web-1 of paris has it: members in three zones there, and gateways of two other
    datacenters. The first of paris are dead, suspect, have other data, or have left."""
    rng = random.Random(seed)
    here = size - GATEWAYS * len(ELSEWHERE)
    states = ["dead"] * DEAD + ["suspect"] * SUSPECT + ["alive"] * DIFFERENT + ["left"] * LEFT
    fates = dict(zip(rng.sample(range(2, here + 1), len(states)), states, strict=True))
    different = {number for number, state in fates.items() if state == "alive"}
    dead = [f"web-{number}" for number, state in fates.items() if state == "dead"]
    members = [
        _member(f"web-{number}", rng, fates.get(number, "alive"), number in different, dead)
        for number in range(1, here + 1)
    ]
    for datacenter in ELSEWHERE:
        for number in range(1, GATEWAYS + 1):
            member = _member(f"{datacenter}-{number}", rng, "alive", False, [])
            member.pool, member.datacenter, member.gateway = "wan", datacenter, True
            member.rtt_ms = rng.uniform(20, 80)
            members.append(member)
    members[0].self, members[0].rtt_ms = True, None
    alive = [each.name for each in members if each.state == "alive" and each.pool == "lan"]
    report = ClusterReport(
        asked="web-1",
        cluster="shop",
        datacenter="paris",
        at_ms=1767225600000,
        age_s=0.2,
        complete=False,
        equal=False,
        keys=1_000_000,
        root="6f1d0b7a92c45e38",
        members=members,
        suspicions=[
            Suspicion("lan", by, of, "dead") for of in dead for by in alive if rng.random() < 0.98
        ]
        + [Suspicion("lan", alive[5], of, "suspect") for of in alive[20:23]],
        partitions=[],
        findings=[
            ClusterFinding(
                "dead", "lan", [name], f"{name} is dead: start it, or forget it",
                f"kvgossip force-leave {name}",
            )
            for name in dead
        ]
        + [
            ClusterFinding(
                "tcp_blocked", "lan", [by, of], f"TCP from {by} to {of} is blocked, UDP works: "
                "exchanges, joins and large entries cannot pass",
            )
            for by in alive[5:8]
            for of in alive[20:60]
        ],
        findings_age_s=3.0,
    )  # fmt: skip
    return dict(msgspec.to_builtins(report))


def _member(
    name: str, rng: random.Random, state: str, different: bool, dead: list[str]
) -> ClusterMember:
    answers = state == "alive"
    address = f"10.{rng.randrange(4)}.{rng.randrange(256)}.{rng.randrange(256)}"
    zone = rng.choice(ZONES)
    middle = ZONES.index(zone) - 1
    return ClusterMember(
        name=name, pool="lan", self=False, state=state, addresses=[f"{address}:7481"],
        http=f"{address}:7480", datacenter="paris", zone=zone, gateway=False, blocked=False,
        rtt_ms=rng.uniform(0.2, 2) if answers else None, rtt_estimate_ms=rng.uniform(0.2, 2),
        clock_offset_ms=rng.randrange(-9, 10) if answers else None,
        same=not different if answers else None,
        differs_by=(7 if different else 0) if answers else None,
        precision="exact" if answers else None, unequal_s=12.0 if different else None,
        answered=answers, age_s=0.1 if answers else 240.0,
        lag_p50_ms=rng.uniform(1, 9) if answers else None,
        lag_p99_ms=rng.uniform(9, 90) if answers else None,
        place_ms=[middle * REACH_MS + rng.gauss(0, 0.2), rng.gauss(0, 0.3)],
        said=Said(
            version="0.2.0", standing="settled", keys=1_000_000, entries=1_000_400, not_ready=[],
            overload="", keyring=["1f2e3d4c"], tokens="none", blocked=[],
            tombstones_waiting=312, waits_for=dead, quarantined=0, suspects=[], dead=dead,
            lost=[],
        ),
    )  # fmt: skip
