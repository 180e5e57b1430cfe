"""RoundTrips: how long each member takes to answer a probe, and by which way its answers come.

**How long to wait for a direct ack.** One timeout for all members is too short for the far ones and
too long for the near ones: a link of 0.6 s there and back, probed with 0.5 s, costs indirect probes
and a TCP frame every time, though nothing is wrong. So each member is waited for as TCP does it
(Jacobson 1988; RFC 6298): the smoothed round trip and four deviations, no less than half of
`probe_timeout_s`, for a process may stand still for a moment, and no more than `probe_interval_s`.
Before anything is measured it is `probe_timeout_s`. An ack that comes after the timeout is measured
all the same, as long as the period lasts: that is how a link that has become slow is learned about.
TCP must guess which of its segments was acknowledged (Karn); a probe has a number of its own.

The rest stays as it was: awareness multiplies this time as any other (Lifeguard), a target is
suspected at the end of the period, so no failure is found later than before; and where the wait is
longer, the period is as well, so that indirect probes have their time.

**Blocked UDP with working TCP** (lesson 13) is seen by nobody else: such a member is never
suspected, for it answers, but rumors do not reach it. It is said when four probes of it in a row
were answered over TCP and none by a datagram, and when a datagram is answered again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kvgossip.config import Address, Config
from kvgossip.protocol.membership.link_watch import LinkWatch
from kvgossip.protocol.model.member import Member
from kvgossip.trends.phi import phi

MEAN_SHARE = 1 / 8
DEVIATION_SHARE = 1 / 4
DEVIATIONS = 4
TIMEOUT_SHARE_MIN = 0.5
BLOCKED_AFTER = 4


@dataclass(slots=True)
class RoundTrip:
    """The measurements of the way to one member."""

    address: Address
    #: both seconds; None before the first measurement
    mean_s: float | None = None
    deviation_s: float = 0.0
    #: how many probes were answered by a datagram, through a helper, over TCP - perhaps by several
    #: of them - and how many were not
    direct: int = 0
    relayed: int = 0
    tcp: int = 0
    lost: int = 0
    #: how many in a row were answered over TCP and not by a datagram
    without_udp: int = 0
    #: when the last probe went out that was answered; -inf: none was
    answered_s: float = -math.inf

    @property
    def is_udp_blocked(self) -> bool:
        return self.without_udp >= BLOCKED_AFTER

    def measured(self, round_trip_s: float) -> None:
        if self.mean_s is None:
            self.mean_s, self.deviation_s = round_trip_s, round_trip_s / 2
            return
        self.deviation_s += DEVIATION_SHARE * (abs(round_trip_s - self.mean_s) - self.deviation_s)
        self.mean_s += MEAN_SHARE * (round_trip_s - self.mean_s)

    def concluded(self, *, direct: bool, relayed: bool, tcp: bool) -> bool:
        """One more probe is over, and was answered by these ways. True if UDP has become blocked by
        it, or open again."""
        was_blocked = self.is_udp_blocked
        self.direct += direct
        self.relayed += relayed
        self.tcp += tcp
        self.lost += not (direct or relayed or tcp)
        self.without_udp = self.without_udp + 1 if tcp and not direct else 0
        return direct if was_blocked else self.is_udp_blocked


class RoundTrips:
    """By the names of members; one that has moved, or is forgotten, is met anew."""

    __slots__ = ("_config", "_known", "links", "turned")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known: dict[str, RoundTrip] = {}
        #: the members whose UDP was blocked or opened, until an operator is warned
        self.turned: list[Member] = []
        #: what is usual on the ways to them, and what is not
        self.links = LinkWatch()

    def of(self, name: str) -> RoundTrip | None:
        return self._known.get(name)

    def timeout_s(self, name: str) -> float:
        """How long to wait for its direct ack."""
        known, config = self._known.get(name), self._config
        if known is None or known.mean_s is None:
            return config.probe_timeout_s
        wait_s = known.mean_s + DEVIATIONS * known.deviation_s
        return min(max(wait_s, TIMEOUT_SHARE_MIN * config.probe_timeout_s), config.probe_interval_s)

    def measured(self, target: Member, round_trip_s: float) -> None:
        """A datagram to this member was answered by one, after so long."""
        self._at(target).measured(round_trip_s)

    def concluded(self, target: Member, *, direct: bool, relayed: bool, tcp: bool) -> None:
        """A probe of this member is over."""
        if self._at(target).concluded(direct=direct, relayed=relayed, tcp=tcp):
            self.turned.append(target)

    def answered(self, target: Member, sent_s: float, round_trip_s: float | None) -> None:
        """That probe was answered, by a datagram after so long; None: in another way alone."""
        known = self._at(target)
        elapsed_s = sent_s - known.answered_s if math.isfinite(known.answered_s) else 0.0
        known.answered_s = sent_s
        self.links.concluded(target.name, round_trip_s, elapsed_s)

    def phi(self, name: str, now_s: float, members: int) -> float | None:
        """How sure one may be that this member is gone (phi.py); None before it has answered.
        `members`: how many are probed in a round."""
        known = self._known.get(name)
        if known is None or not math.isfinite(known.answered_s):
            return None
        return phi(now_s - known.answered_s, max(members, 1) * self._config.probe_interval_s)

    def blocked(self) -> list[str]:
        """The members whose UDP is blocked while their TCP works, sorted."""
        return sorted(name for name, known in self._known.items() if known.is_udp_blocked)

    def forget(self, name: str) -> None:
        self._known.pop(name, None)
        self.links.forget(name)

    def _at(self, target: Member) -> RoundTrip:
        known = self._known.get(target.name)
        if known is None or known.address != target.address:
            if known is not None:
                self.links.forget(target.name)
            known = self._known[target.name] = RoundTrip(target.address)
        return known
