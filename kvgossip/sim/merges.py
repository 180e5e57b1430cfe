"""Merges: of an operator, who makes one cluster of those that a first start in parts has left;
nobody else does (own_cluster_id.py)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kvgossip.config import GOSSIP_PORT
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.pools.pool import Pool
from kvgossip.sim.driver import Driver
from kvgossip.sim.host import Life
from kvgossip.sim.layout import WAN_PORT, dns_name
from kvgossip.sim.tracing import Event

PATIENCE_S = 10.0
"""So long after the faults, and again as long after each order, an operator looks at it."""


class Merges:
    def __init__(self, running: Callable[[], list[Life]], driver: Driver) -> None:
        self._running, self._driver = running, driver
        #: Orders to merge two clusters.
        self.merges = 0

    def merge_clusters(self) -> None:
        """Let one node of each other cluster join the one of the first node, where it reaches it in
        a pool."""
        lives = [life for life in self._running() if life.replica.cluster_id.value.minted]
        if not lives:
            return
        first = lives[0]
        ours = [life for life in lives if _are_one(first, life)]
        asked: list[Life] = []
        for life in lives:
            if any(_are_one(life, other) for other in (first, *asked)):
                continue
            way = next(
                (
                    (pool.kind, other)
                    for other in ours
                    for pool in life.replica.pools
                    if _has_pool(other, pool)
                ),
                None,
            )
            if way is not None:
                self._order(life, *way)
                asked.append(life)

    def _order(self, life: Life, kind: PoolKind, other: Life) -> None:
        self.merges += 1
        port = GOSSIP_PORT if kind is PoolKind.LAN else WAN_PORT
        target = dns_name(other.host.number, port)
        order = partial(life.replica.join, pool=kind, merge=True)
        self._driver.turn(life, Event.MERGE, target.encode(), order, [target])


def _are_one(one: Life, other: Life) -> bool:
    return one.replica.cluster_id.value.meets(other.replica.cluster_id.value)


def _has_pool(life: Life, pool: Pool) -> bool:
    return any(other.name == pool.name for other in life.replica.pools)
