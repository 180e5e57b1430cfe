"""Farewell: a node goes on purpose, and its peers get the time to hear so."""

from __future__ import annotations

from kvgossip.protocol.model.now import Now
from kvgossip.protocol.pools.pool_set import PoolSet

ROUNDS = 2


class Farewell:
    """Of the node that has these pools. `interval_s`: between two rounds of gossip."""

    def __init__(self, pools: PoolSet, interval_s: float) -> None:
        self._pools, self._interval_s = pools, interval_s
        #: the time at which it is over, monotonic seconds; None: the node is not leaving
        self._over_s: float | None = None
        self._is_over = False

    @property
    def has_begun(self) -> bool:
        return self._over_s is not None

    def begin(self, now: Now) -> None:
        """Tell the peers of each pool; where there are any, they get some rounds."""
        for pool in self._pools:
            pool.leave(now)
        anybody = any(pool.membership.reachable for pool in self._pools)
        self._over_s = now.monotonic_s + (ROUNDS if anybody else 0) * self._interval_s

    def deadline(self) -> float | None:
        return None if self._is_over else self._over_s

    def ends(self, now: Now) -> bool:
        """True when it is over, once."""
        if self._over_s is None or self._is_over:
            return False
        self._is_over = now.monotonic_s >= self._over_s
        return self._is_over
