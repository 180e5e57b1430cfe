"""ClockGuard: compares the clocks of peers with this node's own, to know whether it is ahead or
behind, and how far its expiries may be believed (protocol.md section 5).

The ack to a probe carries its sender's wall clock, at some moment since the probe was sent. It is
kept as a distance from this node's *monotonic* clock: so when the own wall clock is set right, or
wrong, that is known at once, without a new probe. Only the few that were seen last count, and the
few that have answered for longest; and only for some minutes, for a monotonic clock may stand still
while a machine sleeps, and what was seen before that is worth nothing after it.

Whoever may join could bring a crowd with a wrong clock. So votes count of members that have
answered for WHILE_S, and at most half of the votes come from the newest: from those that answer for
less than half as long as the eldest. Where less than two have answered for so long, as after a
start, all count, but they do not overrule a clock that any of them confirms: a crowd that is new
cannot make a node doubt what an honest peer shows too. Names that have stayed as long as the honest
ones, and are more, own the median: nobody could tell them from a cluster.

A message that was long on its way, or waited in the buffers of a node that was busy or paused,
shows a clock as it was: by that a node would be ahead of everybody, and refuse writes just because
it has much to do. So each ack gives two distances, by the moment of the question and by that of the
answer's arrival, and of them that counts which makes this node less wrong: the first one where it
may be ahead, the last one where it may be behind. A ping, which may be of any age, says nothing.

The median of the peers decides, the higher one of an even number: a node is ahead when it is so of
two or more peers, and of half of all at least. It is behind when more than half of all, itself
included, are ahead of it. Of two nodes nobody can know which is wrong: the distance is shown, and
no write is refused for it.

Laws
- A version is taken unless it is too far ahead of this node's clock, and of the clocks of more than
  half of all: one bad clock owns no key, be it a peer's or the own one.
- A node that is ahead of its peers takes no writes, and collects nothing.
- A node whose wall clock was set back takes no writes while its hybrid clock is too far ahead of
  it, unless more than half of all, itself included, were set back with it, and so take them.
- A node that is behind its peers is not ready: it serves what has expired for them, and until it
  has seen the clocks of two it refuses what they write.
- An exchange in which something was refused by a clock settles nobody, unless the own clock is
  known not to be the wrong one.
- What is refused by a clock is logged, with the name of the peer that sent it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from statistics import median_high
from typing import NamedTuple

from kvgossip.errors import ClockAheadError, RemoteError
from kvgossip.protocol.model.hlc import COUNTER_BITS, HybridLogicalClock
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.readiness import Reason

PEERS_MAX = 9
ELDERS_MAX = 4
WHILE_S = 600.0
PEERS_MIN = 2
COUNTS_S = 600.0
COMPLAINT_INTERVAL_S = 60.0
LOOK_S = 1.0
REFUSED_PEERS_MAX = 64
REST_S = 3.0


class Shown(NamedTuple):
    """The clock of a peer less this node's monotonic one, ms: its wall clock by the moment of the
    question and by that of the answer; and, by that of the answer, its hybrid clock, as far as it
    takes what others write by theirs. `seen_s`: when it came, monotonic seconds."""

    asked_ms: float
    answered_ms: float
    reached_ms: float
    seen_s: float


@dataclass(slots=True)
class Refusals:
    """What was refused of one peer, because of a clock. Times are monotonic seconds."""

    last_s: float
    logged_s: float = -math.inf
    unlogged: int = 0


class ClockGuard:
    """`drift_max_s`: how far clocks may differ. `hlc` is this node's hybrid clock."""

    __slots__ = (
        "_are_old",
        "_complained_s",
        "_counts_until_s",
        "_drift_ms",
        "_drift_s",
        "_hlc",
        "_look_s",
        "_median_ms",
        "_median_ms_answered",
        "_most_show_ms",
        "_outbox",
        "_peers",
        "_reached_ms",
        "_refusals",
        "_since_s",
        "_taken_ms",
        "_votes",
    )

    def __init__(self, drift_max_s: float, hlc: HybridLogicalClock, outbox: Outbox) -> None:
        self._drift_s, self._drift_ms = drift_max_s, int(drift_max_s * 1000)
        self._hlc, self._outbox = hlc, outbox
        #: by name, in the order in which they were seen; and since when they answer, monotonic
        #: seconds, in that order
        self._peers: dict[str, Shown] = {}
        self._since_s: dict[str, float] = {}
        #: those that count; and whether they may overrule a clock that one of them confirms
        self._votes: list[Shown] = []
        self._are_old = False
        #: the medians of what the peers have shown, as distances
        self._median_ms = self._median_ms_answered = 0.0
        #: what the wall clocks of more than half of all show at least, where this node's does not;
        #: the same of what they have reached; and where this node has reached it, too
        self._most_show_ms = self._reached_ms = self._taken_ms = 0.0
        #: until when these count, monotonic seconds
        self._counts_until_s = -math.inf
        #: by peer
        self._refusals: Newest[str, Refusals] = Newest(REFUSED_PEERS_MAX)
        self._complained_s = self._look_s = -math.inf

    # -- what peers show --------------------------------------------------------------------------

    def saw(self, peer: str, wall_ms: int, asked_s: float, now: Now, future_ms: int = 0) -> None:
        """This peer's wall clock showed `wall_ms` when it answered what was asked at `asked_s` of
        this node's monotonic clock; `future_ms` is what the peer's own guard shows."""
        answered_ms = wall_ms - now.monotonic_s * 1000
        self._peers.pop(peer, None)
        self._peers[peer] = Shown(
            wall_ms - asked_s * 1000, answered_ms, answered_ms + future_ms, now.monotonic_s
        )
        self._since_s.setdefault(peer, now.monotonic_s)
        shown = self._votes = self._choose_votes(now.monotonic_s)
        self._median_ms = median_high(each.asked_ms for each in shown)
        self._median_ms_answered = median_high(each.answered_ms for each in shown)
        half = len(shown) // 2
        reached = sorted(each.reached_ms for each in shown)
        self._reached_ms, self._taken_ms = reached[max(half - 1, 0)], reached[half]
        self._most_show_ms = sorted(each.answered_ms for each in shown)[max(half - 1, 0)]
        self._counts_until_s = now.monotonic_s + COUNTS_S

    def _choose_votes(self, now_s: float) -> list[Shown]:
        """Of the members that were seen last, and of those that have answered for longest."""
        seen = islice(reversed(self._peers), PEERS_MAX)
        names = [
            name
            for name in dict.fromkeys([*islice(self._since_s, ELDERS_MAX), *seen])
            if now_s - self._peers[name].seen_s <= COUNTS_S
        ]
        ages_s = {name: now_s - self._since_s[name] for name in names}
        lasting = [name for name in names if ages_s[name] >= WHILE_S]
        self._are_old = len(lasting) >= PEERS_MIN
        if self._are_old:
            half_s = max(ages_s.values()) / 2
            old = [name for name in lasting if ages_s[name] >= half_s]
            new = sorted(
                (name for name in lasting if ages_s[name] < half_s), key=lambda name: -ages_s[name]
            )
            names = [*old, *new[: len(old)]]
        return [self._peers[name] for name in names]

    def shown_by(self, peer: str, now: Now) -> tuple[float, float] | None:
        """Between which times the wall clock of this peer is now, ms since 1970, by what it has
        shown last."""
        shown, now_ms = self._peers.get(peer), now.monotonic_s * 1000
        return None if shown is None else (shown.answered_ms + now_ms, shown.asked_ms + now_ms)

    def forget(self, peer: str) -> None:
        """It is gone, or begins a new life: it has to answer for a while again."""
        self._peers.pop(peer, None)
        self._since_s.pop(peer, None)

    def _is_confirmed(self, now: Now) -> bool:
        """True if this node's wall clock cannot be overruled: one of all peers shows the same, and
        there are not enough that have answered for long. Asked where most say otherwise."""
        own_ms, since_s = now.wall_ms - now.monotonic_s * 1000, now.monotonic_s - COUNTS_S
        return not self._are_old and any(
            shown.answered_ms - self._drift_ms <= own_ms <= shown.asked_ms + self._drift_ms
            for shown in self._peers.values()
            if shown.seen_s >= since_s
        )

    def _is_alone_behind(self, now: Now) -> bool:
        """True if what peers have reached may overrule this clock: there are enough that have
        answered for long, or not one of all is where this node is."""
        own_ms, since_s = now.wall_ms - now.monotonic_s * 1000, now.monotonic_s - COUNTS_S
        return self._are_old or all(
            shown.reached_ms > own_ms + self._drift_ms
            for shown in self._peers.values()
            if shown.seen_s >= since_s
        )

    def future_ms(self, now: Now) -> int:
        """What peers are shown: how far the hybrid clock is ahead of a wall clock that was set
        back; 0 where that is no more than clocks may differ."""
        ahead_ms = min(self._hlc.shown_ms - now.wall_ms, self._hlc.ahead_ms(now.wall_ms))
        return ahead_ms if ahead_ms > self._drift_ms else 0

    def _knows(self, now: Now, peers_min: int = 1) -> bool:
        """True if so many peers have shown their clocks, and not too long ago."""
        return len(self._votes) >= peers_min and now.monotonic_s <= self._counts_until_s

    # -- ahead, and behind ------------------------------------------------------------------------

    def ahead_s(self, now: Now) -> float | None:
        """How far this node's wall clock is ahead of the peers' median, negative if it is behind;
        None before any peer has shown its clock."""
        if not self._knows(now):
            return None
        return (now.wall_ms - now.monotonic_s * 1000 - self._median_ms) / 1000

    def is_ahead(self, now: Now) -> bool:
        """True if enough peers agree that this node's wall clock is too far ahead."""
        ahead_s = self.ahead_s(now) if len(self._votes) >= PEERS_MIN else None
        is_ahead = ahead_s is not None and ahead_s > self._drift_s
        return is_ahead and not self._is_confirmed(now)

    def is_behind(self, now: Now) -> bool:
        """True if more than half of all agree that this node's wall clock is too far behind."""
        is_behind = self._knows(now, PEERS_MIN) and self._behind_ms(now) > self._drift_ms
        return is_behind and not self._is_confirmed(now)

    def _behind_ms(self, now: Now) -> float:
        return self._most_show_ms + now.monotonic_s * 1000 - now.wall_ms

    def hybrid_ahead_s(self, now: Now) -> float:
        """How far this node's hybrid clock is ahead of its wall clock."""
        return self._hlc.ahead_ms(now.wall_ms) / 1000

    def _writes_the_future(self, now: Now) -> bool:
        """True if peers would refuse what is written here, as the own wall clock was ahead."""
        ahead_ms = self._hlc.ahead_ms(now.wall_ms)
        if ahead_ms <= self._drift_ms or not self._knows(now):
            return ahead_ms > self._drift_ms
        taken_ms = self._taken_ms + now.monotonic_s * 1000 + self._drift_ms
        return now.wall_ms + ahead_ms > taken_ms

    def check(self, now: Now) -> None:
        """Raises ClockAheadError while nothing may be written. Asked for every write."""
        in_time = self._hlc.latest >> COUNTER_BITS <= now.wall_ms + self._drift_ms
        # so it is nearly always: less than `is_ahead` asks is enough to see that
        if in_time and (
            len(self._votes) < PEERS_MIN
            or now.wall_ms - now.monotonic_s * 1000 - self._median_ms <= self._drift_ms
        ):
            return
        if self.is_ahead(now):
            raise ClockAheadError(
                self._ahead(now),
                "set its clock right, by NTP for example, or write to another node",
            )
        if not in_time and self._writes_the_future(now):
            wait_s = self.hybrid_ahead_s(now) - self._drift_s
            raise ClockAheadError(
                self._future(now),
                f"write to another node; this one takes writes again in {math.ceil(wait_s)} s, or "
                "at once where it starts without its data (--rebuild)",
            )

    def trouble(self, now: Now) -> str:
        """What is wrong with the clocks of this node, in words; empty: nothing that is known."""
        if self.is_ahead(now):
            return self._ahead(now)
        if self.is_behind(now):
            return self._behind(now)
        return self._future(now) if self._hlc.ahead_ms(now.wall_ms) > self._drift_ms else ""

    def not_ready(self, now: Now) -> list[Reason]:
        """The reason for which reads of this node may lack what others have."""
        if not self.is_behind(now):
            return []
        return [
            Reason("clock_behind", self._behind(now), "set its clock right, by NTP for example")
        ]

    def _ahead(self, now: Now) -> str:
        ahead_s = self.ahead_s(now) or 0.0
        return (
            f"the clock of this node is {ahead_s:.1f} s ahead of its peers' median, so they would "
            "refuse what it writes"
        )

    def _future(self, now: Now) -> str:
        refused = self._writes_the_future(now)
        so = "so its peers would refuse what it writes" if refused else "and so is what it writes"
        return (
            "the clock of this node was ahead, or has been set back since: its versions are "
            f"{self.hybrid_ahead_s(now):.1f} s in the future, {so}"
        )

    def _behind(self, now: Now) -> str:
        return (
            f"the clock of this node is {self._behind_ms(now) / 1000:.1f} s behind its peers' "
            "median, so it serves what has expired for them, and may refuse what they write"
        )

    def look(self, now: Now) -> None:
        """To be called at every tick: remembers how far the wall clock has come, and tells the
        operator what is wrong."""
        if now.wall_ms > self._hlc.shown_ms:
            self._hlc.shown_ms = now.wall_ms
        if now.monotonic_s < self._look_s:
            return
        self._look_s = now.monotonic_s + LOOK_S
        trouble = self.trouble(now)
        if not trouble:
            self._complained_s = -math.inf
        elif now.monotonic_s - self._complained_s >= COMPLAINT_INTERVAL_S:
            self._complained_s = now.monotonic_s
            self._outbox.log("WARNING", f"{trouble}: set clocks right, by NTP for example")

    # -- what is taken, and what is refused by a clock --------------------------------------------

    def observe(self, timestamp: int, now: Now) -> None:
        """Let the hybrid clock take over a heard timestamp. Raises RemoteError("clock_ahead") where
        it is not to be taken."""
        if timestamp > self._hlc.latest:
            try:
                self._hlc.observe(timestamp, now.wall_ms)
            except RemoteError:
                self._hlc.observe(timestamp, self._reached_by_most_ms(now))

    def takes(self, timestamp: int, now: Now) -> bool:
        """True if a heard timestamp is to be taken."""
        return not self._hlc.is_too_late(timestamp, self._reached_by_most_ms(now))

    def _reached_by_most_ms(self, now: Now) -> int:
        """The own wall clock, or what more than half of all have reached, where that is later."""
        if not self._knows(now, PEERS_MIN) or not self._is_alone_behind(now):
            return now.wall_ms
        return max(now.wall_ms, int(self._reached_ms + now.monotonic_s * 1000))

    def refused(self, peer: str, ahead_ms: int, now: Now) -> None:
        """A version that this peer sent was refused, as it is so far ahead of the wall clock."""
        refusals = self._refusals.pop(peer, None) or Refusals(now.monotonic_s)
        self._refusals[peer] = refusals
        refusals.last_s = now.monotonic_s
        refusals.unlogged += 1
        if now.monotonic_s - refusals.logged_s >= COMPLAINT_INTERVAL_S:
            text = (
                f"refused what {peer or 'a stranger'!r} sent: a version is {ahead_ms / 1000:.1f} s "
                f"ahead of the clock of this node ({refusals.unlogged} refused of that peer since "
                "the last such line): one of the two clocks is wrong"
            )
            self._outbox.log("WARNING", text)
            refusals.logged_s, refusals.unlogged = now.monotonic_s, 0

    def rests(self, peer: str, now: Now) -> bool:
        """True if something of this peer was refused so lately that the same would be again."""
        refusals = self._refusals.get(peer)
        return refusals is not None and now.monotonic_s - refusals.last_s < REST_S

    def may_settle(self, peer: str, since_s: float, now: Now) -> bool:
        """True if an exchange with this peer, which began then, monotonic seconds, has brought
        all: nothing was refused, or by the fault of the peer's clock."""
        refusals = self._refusals.get(peer)
        if refusals is None or refusals.last_s < since_s:
            return True
        own_ms = max(now.wall_ms, self._hlc.shown_ms) + self._drift_ms
        return self._knows(now) and self._reached_ms + now.monotonic_s * 1000 <= own_ms

    # -- clocks for expiry ------------------------------------------------------------------------

    def expiry_ms(self, now: Now) -> int:
        """The time by which entries expire here. The hybrid clock is never behind the wall clock,
        so the lesser of the two is the wall clock; and a node that is ahead of its peers hides
        nothing before they do."""
        if not self._knows(now, PEERS_MIN):
            return now.wall_ms
        limit_ms = self._median_ms + now.monotonic_s * 1000 + self._drift_ms
        if now.wall_ms <= limit_ms or self._is_confirmed(now):
            return now.wall_ms
        return int(limit_ms)

    def earliest_ms(self, now: Now) -> int:
        """The lesser of this node's wall clock and its peers' median: what has expired by it has
        expired for both."""
        if not self._knows(now):
            return now.wall_ms
        return min(now.wall_ms, int(self._median_ms_answered + now.monotonic_s * 1000))

    def latest_ms(self, now: Now) -> int:
        """The greater of the two: what has not expired by it has for neither."""
        if not self._knows(now):
            return now.wall_ms
        return max(now.wall_ms, int(self._median_ms + now.monotonic_s * 1000))
