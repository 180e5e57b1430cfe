"""Bucket: a token bucket; and RateLimit: how much one source may ask for, a bucket for each.

A bucket holds as much as BURST_S fill it with, so that a burst is taken whole and only a flood is
not. The table is bounded: where more sources speak than it holds, the one that was first noticed is
forgotten and begins with a full bucket, so strangers who lie about their address can gain a burst
and nothing else. No chance and no clock: the time is an argument.
"""

from __future__ import annotations

import math

from kvgossip.protocol.model.newest import Newest

BURST_S = 2.0
SOURCES_MAX = 4096


class Bucket:
    """`per_s` a second, and `full` at once."""

    __slots__ = ("_full", "_level", "_per_s", "_since_s")

    def __init__(self, per_s: float, full: float) -> None:
        self._per_s, self._full = per_s, full
        self._level, self._since_s = full, -math.inf

    def admits(self, now_s: float) -> bool:
        """True if there is something left at this time (monotonic seconds); it is taken then."""
        passed_s = max(0.0, now_s - self._since_s)
        self._level, self._since_s = min(self._full, self._level + passed_s * self._per_s), now_s
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True


class RateLimit:
    """Each source may have `per_s` a second."""

    __slots__ = ("_buckets", "_full", "_per_s")

    def __init__(self, per_s: float) -> None:
        self._per_s, self._full = per_s, max(1.0, per_s * BURST_S)
        #: by source, how much is left, and since when, monotonic seconds
        self._buckets: Newest[str, list[float]] = Newest(SOURCES_MAX)

    def __len__(self) -> int:
        return len(self._buckets)

    def admits(self, source: str, now_s: float) -> bool:
        """True if there is something left for this source at this time (monotonic seconds); it is
        taken then."""
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = self._buckets[source] = [self._full, now_s]
        level, since_s = bucket
        if now_s > since_s:
            level = min(self._full, level + (now_s - since_s) * self._per_s)
        admitted = level >= 1.0
        bucket[0], bucket[1] = level - 1.0 if admitted else level, now_s
        return admitted
