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
from kvgossip.protocol.membership.join_handshake import JoinHandshake
from kvgossip.protocol.membership.join_targets import JoinTargets
from kvgossip.protocol.membership.known_peers import KnownPeers
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.readiness import Readiness, Reason
from kvgossip.protocol.settling import Settling
from kvgossip.protocol.wire.message import Join, JoinReply

STRANGERS_MAX = 64
REFUSAL_KEPT_S = 150.0
WARNING_INTERVAL_S = 60.0


class Joining:
    """`is_member(name)` is true of a member that is alive or suspect, and not blocked; `retry_s`
    is the pause after which a stranger is asked again."""

    def __init__(
        self,
        kind: PoolKind,
        membership: Membership,
        *,
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

    def join(self, addresses: Iterable[Address]) -> None:
        """Ask the nodes at these addresses to take this one in."""
        for address in addresses:
            if self._blocklist.covers_address(address):
                hint = "`kvgossip unblock` it before you join it"
                text = f"{address} is blocked on this node: {hint}"
                self._outbox.emit(JoinRefused(address, text, self._kind))
            else:
                self._handshake.ask(address)

    def resolved(self, target: str, addresses: Sequence[Address]) -> None:
        """DNS has these addresses of a join target."""
        self.join(self._targets.resolved(target, addresses, self._is_member))

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
        self.join(self._known_peers.due(now))
        self._outbox.persist(self._known_peers.forgotten(now))
