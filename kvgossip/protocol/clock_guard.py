"""ClockGuard: what the peers' wall clocks show, to know whether this node's own one is ahead
(protocol.md section 5).

The ack to a probe tells its sender's wall clock, at some moment since the probe was sent. It is
kept as a distance from this node's *monotonic* clock: so when the own wall clock is set right, or
wrong, that is known at once, without a new probe. Only the newest few peers count, for a monotonic
clock may stand still while a machine sleeps, and what was seen before that is worth nothing after
it.

A message that was long on its way, or waited in the buffers of a node that was busy or paused,
shows a clock as it was: by that a node would be ahead of everybody, and refuse writes just because
it has much to do. So of the moments in question the first one is taken, which makes a node ahead by
no more than it is; and a ping, which may be of any age, tells nothing.

The median of the peers decides, the higher one of an even number: a node is ahead when it is so of
half of its peers at least. Of two nodes nobody can tell which is wrong: the distance is shown, and
nothing follows from it.
"""

from __future__ import annotations

from statistics import median_high

from kvgossip.protocol.model.now import Now

PEERS_MAX = 9
PEERS_MIN = 2


class ClockGuard:
    __slots__ = ("_distances_ms", "_median_ms")

    def __init__(self) -> None:
        self._distances_ms: dict[str, float] = {}
        self._median_ms: float | None = None

    def saw(self, peer: str, wall_ms: int, asked_s: float) -> None:
        """This peer's wall clock showed `wall_ms` when it answered what was asked at `asked_s` of
        this node's monotonic clock."""
        self._distances_ms.pop(peer, None)
        self._distances_ms[peer] = wall_ms - asked_s * 1000
        if len(self._distances_ms) > PEERS_MAX:
            del self._distances_ms[next(iter(self._distances_ms))]
        self._median_ms = median_high(self._distances_ms.values())

    def ahead_s(self, now: Now) -> float | None:
        """How far this node's wall clock is ahead of the peers' median, negative if it is behind;
        None before any peer has told."""
        return (
            None
            if self._median_ms is None
            else (now.wall_ms - now.monotonic_s * 1000 - self._median_ms) / 1000
        )

    def is_ahead(self, now: Now, limit_s: float) -> bool:
        """Whether enough peers agree that this node's wall clock is further ahead than that."""
        ahead_s = self.ahead_s(now) if len(self._distances_ms) >= PEERS_MIN else None
        return ahead_s is not None and ahead_s > limit_s
