"""ClockGuard: compares the wall clocks of peers with this node's own, to know whether it is ahead
(protocol.md section 5).

The ack to a probe carries its sender's wall clock, at some moment since the probe was sent. It is
kept as a distance from this node's *monotonic* clock: so when the own wall clock is set right, or
wrong, that is known at once, without a new probe. Only the newest few peers count, for a monotonic
clock may stand still while a machine sleeps, and what was seen before that is worth nothing after
it.

A message that was long on its way, or waited in the buffers of a node that was busy or paused,
shows a clock as it was: by that a node would be ahead of everybody, and refuse writes just because
it has much to do. So of the moments in question the first one is taken, which makes a node ahead by
no more than it is; and a ping, which may be of any age, says nothing.

The median of the peers decides, the higher one of an even number: a node is ahead when it is so of
half of its peers at least. Of two nodes nobody can know which is wrong: the distance is shown, and
nothing follows from it.
"""

from __future__ import annotations

import math
from statistics import median_high

from kvgossip.errors import ClockAheadError
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import Outbox

PEERS_MAX = 9
PEERS_MIN = 2
COMPLAINT_INTERVAL_S = 60.0


class ClockGuard:
    """`drift_max_s`: how far this node's wall clock may be ahead of its peers' median."""

    __slots__ = ("_complained_s", "_distances_ms", "_drift_max_s", "_median_ms", "_outbox")

    def __init__(self, drift_max_s: float, outbox: Outbox) -> None:
        self._drift_max_s, self._outbox = drift_max_s, outbox
        #: by peer, its wall clock less this node's monotonic one
        self._distances_ms: Newest[str, float] = Newest(PEERS_MAX)
        self._median_ms: float | None = None
        self._complained_s = -math.inf

    def saw(self, peer: str, wall_ms: int, asked_s: float, now: Now) -> None:
        """This peer's wall clock showed `wall_ms` when it answered what was asked at `asked_s` of
        this node's monotonic clock: enough to see that the own one is wrong, and to say so."""
        self._distances_ms.pop(peer, None)
        self._distances_ms[peer] = wall_ms - asked_s * 1000
        self._median_ms = median_high(self._distances_ms.values())
        if not self.is_ahead(now):
            self._complained_s = -math.inf
        elif now.monotonic_s - self._complained_s >= COMPLAINT_INTERVAL_S:
            self._complained_s = now.monotonic_s
            self._outbox.log("WARNING", f"{self._text(now)}: set it right")

    def ahead_s(self, now: Now) -> float | None:
        """How far this node's wall clock is ahead of the peers' median, negative if it is behind;
        None before any peer has shown its clock."""
        if self._median_ms is None:
            return None
        return (now.wall_ms - now.monotonic_s * 1000 - self._median_ms) / 1000

    def is_ahead(self, now: Now) -> bool:
        """True if enough peers agree that this node's wall clock is too far ahead."""
        ahead_s = self.ahead_s(now) if len(self._distances_ms) >= PEERS_MIN else None
        return ahead_s is not None and ahead_s > self._drift_max_s

    def check(self, now: Now) -> None:
        """Raises ClockAheadError while nothing may be written."""
        if self._median_ms is not None and self.is_ahead(now):
            raise ClockAheadError(
                self._text(now), "set its clock right, by NTP for example, or write to another node"
            )

    def _text(self, now: Now) -> str:
        ahead_s = self.ahead_s(now) or 0.0
        return (
            f"the clock of this node is {ahead_s:.1f} s ahead of its peers' median, so they would "
            "refuse what it writes"
        )
