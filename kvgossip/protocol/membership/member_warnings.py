"""MemberWarnings: warnings for the operator about the members of one pool, at most one a minute
about each."""

from __future__ import annotations

import math

from kvgossip.config import Address
from kvgossip.protocol.ingress.gate import Gate
from kvgossip.protocol.membership.partition_watch import PartitionWatch
from kvgossip.protocol.membership.round_trip import BLOCKED_AFTER
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import Outbox

RIVAL_KEPT_S = 300.0


class MemberWarnings:
    def __init__(
        self, membership: Membership, partition: PartitionWatch, gate: Gate, outbox: Outbox
    ) -> None:
        self._membership, self._partition = membership, partition
        self._gate, self._outbox = gate, outbox
        #: the address of another node that uses this node's name, and the time at which it was last
        #: heard of
        self._rival, self._rival_s = "", -math.inf
        #: how many lives, and names, were refused when an operator was last warned of it
        self._lives_refused = self._names_refused = 0
        #: the own record when it was last looked at, and where this node was reached when an
        #: operator was last warned
        self._me, self._address = membership.me, membership.me.address

    def rival(self, now: Now) -> str:
        """The address of a node that uses this node's name; empty where none was heard of
        lately."""
        return self._rival if now.monotonic_s - self._rival_s < RIVAL_KEPT_S else ""

    def look(self, now: Now) -> None:
        """Warn of whatever membership has met since the last look."""
        membership, table = self._membership, self._membership.table
        if membership.rival is not None:
            self._report_rival(membership.rival, now)
        if membership.lives_refused > self._lives_refused:
            self._report_lives_refused(now)
        if table.shared:
            self._report_shared(now)
        if membership.names_refused > self._names_refused:
            self._report_names_refused(now)
        if membership.round_trips.turned:
            self._report_blocked_udp(now)
        if table.me is not self._me:
            self._me = table.me
            if self._me.address != self._address:
                self._report_address(self._me.address)

    def watch_partition(self, old: Member, new: Member | None, now: Now) -> None:
        """A member has changed: perhaps most of them are gone at once. Those of a crowd that never
        answered are not missed; and a stranger can make up a few, and let them go, for ever: so
        each of the two lines comes once a minute."""
        table = self._membership.table
        if not self._partition.concerns(new) or not table.proofs.counts(old.name):
            return
        alive = 1 + len(table.counted)
        stretch = self._membership.awareness.factor
        text = self._partition.changed(old, new, alive, stretch, now.monotonic_s)
        if text is not None:
            subject = f"partition {self._partition.since_s is None}"
            self._gate.complain(subject, f"{text} ({self._gate.here})", now)

    def _report_address(self, address: Address) -> None:
        """A learned address gave way to another one (own_host.py)."""
        before, self._address = self._address, address
        if before.host:
            text = f"peers reach this node at {address} now, and no longer at {before}"
            self._outbox.log("WARNING", f"{text} ({self._gate.here})")

    def _report_rival(self, rival: Member, now: Now) -> None:
        self._membership.rival = None
        self._rival, self._rival_s = str(rival.address), now.monotonic_s
        text = (
            f"another live node, at {rival.address}, uses the name {rival.name!r} of this one, at "
            f"{self._membership.me.address}"
        )
        self._gate.complain("rival", f"{text}: give one of them another --name", now)

    def _report_shared(self, now: Now) -> None:
        table = self._membership.table
        shared, table.shared = table.shared, []
        for one, other in shared:
            text = (
                f"two live nodes are seen at one address, {other.address}: {one.name!r} and "
                f"{other.name!r}. They may be behind one NAT: give each an --advertise of its own, "
                "at which the others reach it"
            )
            names = " ".join(sorted((one.name, other.name)))
            self._gate.complain(f"shared {names}", f"{text} ({self._gate.here})", now)

    def _report_blocked_udp(self, now: Now) -> None:
        """Rumors and probes do not pass, and yet nobody is suspected: an operator must hear of it
        (lesson 13)."""
        round_trips = self._membership.round_trips
        turned, round_trips.turned = round_trips.turned, []
        for member in turned:
            known = round_trips.of(member.name)
            blocked = known is not None and known.is_udp_blocked
            subject = f"udp {member.name} {blocked}"
            if blocked:
                text = (
                    f"UDP is blocked between this node and {member.name!r} at {member.address}, "
                    f"TCP works: open UDP port {member.port} in both directions; {BLOCKED_AFTER} "
                    "probes in a row were answered over TCP only"
                )
                self._gate.complain(subject, f"{text} ({self._gate.here})", now)
            else:
                text = f"{member.name!r} at {member.address} answers by UDP again"
                self._gate.complain(subject, f"{text} ({self._gate.here})", now, "INFO")

    def _report_names_refused(self, now: Now) -> None:
        self._names_refused = self._membership.names_refused
        text = (
            f"refused members beyond the {len(self._membership.members):,} names that this node "
            "knows, none of which is gone: raise members_max everywhere"
        )
        self._gate.complain("names", f"{text} ({self._gate.here})", now)

    def _report_lives_refused(self, now: Now) -> None:
        self._lives_refused = self._membership.lives_refused
        text = (
            "refused members that claim to have started years from now: either they lie, or the "
            "clock of this node is years behind"
        )
        self._gate.complain("lives", f"{text} ({self._gate.here})", now)
