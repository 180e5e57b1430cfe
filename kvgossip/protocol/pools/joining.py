"""Joining: how this node enters a pool, and finds those again that it has lost: join targets, DNS,
members that an earlier life knew, and the handshake with the member that answers.

A node that is refused by those whom it asks, and reaches nobody, is not ready: what it takes
reaches nobody. It may be the clone of another one, or have missed a change of keys. Anybody can
forge a refusal: so only those count that come from its join addresses, or from where a member was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from kvgossip.config import Address
from kvgossip.protocol.anti_entropy.scheduler import ExchangeScheduler
from kvgossip.protocol.effect import JoinRefused, Resolve
from kvgossip.protocol.ingress.blocklist import Blocklist
from kvgossip.protocol.ingress.refusal import of_other_id
from kvgossip.protocol.membership.join_handshake import JoinHandshake
from kvgossip.protocol.membership.join_targets import JoinTargets
from kvgossip.protocol.membership.known_peers import KnownPeers
from kvgossip.protocol.membership.own_cluster_id import OwnClusterId
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.readiness import Readiness, Reason
from kvgossip.protocol.settling import Settling
from kvgossip.protocol.wire.message import Join, JoinPurpose, JoinReply, Message, Ping

LEARNED_MAX = 1024
# news of a merge may be slower than the first frames of those who have become members by it
MERGE_S = 2.0

STRANGERS_MAX = 1024
ASKED_FOR_HOST_MAX = 4
REFUSAL_KEPT_S = 150.0
WARNING_INTERVAL_S = 60.0


class Joining:
    """`is_member(name)` is true of a member that is alive or suspect, and not blocked; nobody
    that this node has not met is asked twice within `retry_s`, to be taken in or for its cluster
    id."""

    def __init__(
        self,
        kind: PoolKind,
        membership: Membership,
        *,
        cluster_id: OwnClusterId,
        join_targets: JoinTargets,
        join_handshake: JoinHandshake,
        known_peers: KnownPeers,
        exchanges: ExchangeScheduler,
        settling: Settling,
        readiness: Readiness,
        retry_s: float,
        blocklist: Blocklist,
        is_member: Callable[[str], bool],
        outbox: Outbox,
    ) -> None:
        self._kind, self._membership = kind, membership
        self._cluster_id = cluster_id
        #: targets of an operator that means to merge two clusters
        self._merging: OrderedSet[str] = OrderedSet()
        #: by address, when its cluster id was last asked for, monotonic seconds
        self._learned_s: Newest[Address, float] = Newest(LEARNED_MAX)
        #: by source, when a frame of another cluster id first came, monotonic seconds
        self._other_ids_s: Newest[Address, float] = Newest(STRANGERS_MAX)
        self._targets, self._handshake, self._known_peers = (
            join_targets,
            join_handshake,
            known_peers,
        )
        self._exchanges, self._settling, self._blocklist = exchanges, settling, blocklist
        self._is_member, self._outbox, self._retry_s = is_member, outbox, retry_s
        #: by address, when a stranger there was asked last, monotonic seconds
        self._strangers_s: Newest[Address, float] = Newest(STRANGERS_MAX)
        #: the last refusal, and when it came, monotonic seconds
        self._refusal, self._refused_s = "", -math.inf
        self._warned_s = -math.inf
        readiness.add(self._not_ready)

    def order(self, targets: Sequence[str], *, merge: bool) -> None:
        """An operator wants these joined, now and once. `merge`: and the cluster of this node to
        become a part of theirs."""
        if merge:
            self._merging |= OrderedSet(targets)
        added = self._targets.add(targets)
        self._outbox.emit(*(Resolve(target, self._kind) for target in added))

    def join(
        self,
        addresses: Iterable[Address],
        purpose: JoinPurpose = JoinPurpose.ENTER,
        asked_name: str = "",
    ) -> None:
        """Ask the nodes at these addresses to take this one in. The rest as in Join."""
        for address in addresses:
            if self._blocklist.covers_address(address):
                hint = "`kvgossip unblock` it before you join it"
                text = f"{address} is blocked on this node: {hint}"
                self._outbox.emit(JoinRefused(address, text, self._kind))
            else:
                self._handshake.ask(address, purpose, asked_name)

    def resolved(self, target: str, addresses: Sequence[Address]) -> None:
        """DNS has these addresses of a join target."""
        merge = target in self._merging
        self._merging.discard(target)
        self.join(
            self._targets.resolved(target, addresses, self._is_member),
            JoinPurpose.MERGE if merge else JoinPurpose.ENTER,
        )

    def knows_us(self, source: Address, now: Now) -> None:
        """Somebody whom this life has not met speaks to this node by its name: a member that knew
        an earlier life of it. A node that has not settled asks to be taken in there."""
        last_s = self._strangers_s.get(source)
        if self._settling.settled or (
            last_s is not None and now.monotonic_s - last_s < self._retry_s
        ):
            return
        self._strangers_s[source] = now.monotonic_s
        self._settling.is_known(now)
        self.join([source])

    def on_join(self, message: Join | JoinReply, members: list[Member], arrival: Arrival) -> None:
        if isinstance(message, Join):
            self._handshake.on_join(message, members, arrival)
        elif self._handshake.on_reply(message, members, arrival):
            self._targets.answered(arrival.source, message.sender)
            self._outbox.persist(self._known_peers.answered(arrival.source, message.sender))
            if message.sender == self._membership.me.name:
                self._settling.introduced()
            else:
                self._refusal = ""
                self._settling.saw(message.sync_state)
                self._exchanges.start(message.sender, arrival.now)

    def refused(self, text: str, arrival: Arrival) -> None:
        """A node says no."""
        source = arrival.source
        if self._targets.has(source) or self._known_peers.has(source):
            self._refusal, self._refused_s = text, arrival.now.monotonic_s
            for reason in self._not_ready(arrival.now):
                self._warn(reason.text, arrival.now)

    def _warn(self, text: str, now: Now) -> None:
        """At most once a minute."""
        if now.monotonic_s - self._warned_s >= WARNING_INTERVAL_S:
            self._warned_s = now.monotonic_s
            self._outbox.log("WARNING", f"this node is not ready: {text}")

    def _not_ready(self, now: Now) -> list[Reason]:
        lately = now.monotonic_s - self._refused_s < REFUSAL_KEPT_S
        if not (self._refusal and lately) or self._settling.has_company:
            return []
        text = f"it reaches no member, and what it takes reaches nobody: it was {self._refusal}"
        return [Reason("refused", text, "do what the refusal says")]

    def tick(self, now: Now) -> None:
        """Join the targets that are due. The handshake has its own time."""
        settled = self._settling.settled
        if self._targets.is_due(now, settled):
            strangers = self._targets.strangers(self._is_member)
            self._outbox.emit(*(Resolve(target, self._kind) for target in strangers))
            for name in [] if settled else self._targets.unexchanged():
                self._exchanges.start(name, now)
        if not self._membership.me.host:
            self._find_own_host(now)
        if self._known_peers.absent:
            for address in self._known_peers.due(now):
                self.join([address], asked_name=self._known_peers.name_at(address))
            self._outbox.persist(self._known_peers.forgotten(now))
        table = self._membership.table
        names, table.newly_proven = table.newly_proven, []
        for name in names:
            self.remember(name, table.members.get(name))

    def remember(self, name: str, member: Member | None) -> None:
        """Keep what a later life has to know of this member, which has changed; nothing of a crowd
        that has not answered (claims.py): the next life would look for inventions."""
        if member is None or self._membership.table.proofs.counts(name):
            self._outbox.persist(self._known_peers.changed(name, member))

    def _find_own_host(self, now: Now) -> None:
        """One peer alone is not believed about it, so others are asked, too: each says in its reply
        where it saw this node."""
        for member in self._membership.table.counted[:ASKED_FOR_HOST_MAX]:
            if not self._membership.own_host.has_said(member.host):
                self.learn(member.address, member.name, now)

    # -- the cluster id ---------------------------------------------------------------------------

    def tell_cluster_id(self) -> None:
        """Two clusters are one now: tell the members, and hear what they know."""
        for member in self._membership.table.counted:
            self.join([member.address], JoinPurpose.LEARN, member.name)

    def learn(self, address: Address, name: str, now: Now) -> None:
        """Somebody there, the member of that name if it is known, has another cluster id, or knows
        more of this one."""
        last_s = self._learned_s.get(address)
        if last_s is None or now.monotonic_s - last_s >= self._retry_s:
            self._learned_s.pop(address, None)
            self._learned_s[address] = now.monotonic_s
            self.join([address], JoinPurpose.LEARN, name)

    def other_id(
        self, messages: Sequence[Message | Member], number: int, arrival: Arrival
    ) -> str | None:
        """What to say to a frame of another cluster id, that of this number; None: nothing.

        A member may know of a merge that this node has not heard of, and so it is asked. A node
        that has minted nothing belongs to whoever calls it by its name: an earlier life was known
        there. Anybody else is a stranger at a reused address.
        """
        name = self._membership.table.last_name_at(arrival.source)
        minted = self._cluster_id.value.minted
        call = None if name or minted else self._call_in(messages)
        if call is not None:
            self._settling.is_known(arrival.now)
            self._settling.saw(call.sync_state)
        if name or call is not None:
            self.learn(arrival.source, name, arrival.now)
        elif minted and self._is_still_strange(arrival):
            me, ours = self._membership.me, self._cluster_id.value.number
            return of_other_id(number, ours, self._kind, me.address)
        return None

    def _is_still_strange(self, arrival: Arrival) -> bool:
        """True if frames of another cluster id have come from there for longer than a merge
        takes to be heard of."""
        now_s = arrival.now.monotonic_s
        first_s = self._other_ids_s.get(arrival.source)
        if first_s is None:
            first_s = self._other_ids_s[arrival.source] = now_s
        return now_s - first_s >= MERGE_S

    def _call_in(self, messages: Sequence[Message | Member]) -> Ping | None:
        """The ping of the name of this node, if there is one."""
        me = self._membership.me.name
        pings = (unit for unit in messages if isinstance(unit, Ping))
        return next((ping for ping in pings if ping.target == me), None)
