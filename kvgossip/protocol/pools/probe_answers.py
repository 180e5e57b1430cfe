"""ProbeAnswers: pings and acks of one pool, and the facts that they carry along: the digest root,
the wall clock, the sync state, the data that the other side is known to hold, a digest of the
cluster id, and a coordinate (protocol.md section 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from kvgossip.config import Address
from kvgossip.protocol.acks.tracker import AckTracker
from kvgossip.protocol.anti_entropy.scheduler import ExchangeScheduler
from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.doctor.examination import Doctor
from kvgossip.protocol.membership.join_handshake import JoinHandshake
from kvgossip.protocol.membership.join_targets import JoinTargets
from kvgossip.protocol.membership.member_table import MemberTable
from kvgossip.protocol.membership.own_cluster_id import OwnClusterId
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import MemberState, SyncState, is_of, life_of
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.pools.joining import Joining
from kvgossip.protocol.pools.pool_outbox import PoolOutbox
from kvgossip.protocol.settling import Settling
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.message import Ack, Ping
from kvgossip.protocol.wire.unit import encode_briefly

_NEEDED_LEAST: tuple[dict[str, Any], ...] = (
    {"coordinate": b""},
    {"held": 0},
    {"seen_host": ""},
    {"future_ms": 0},
    {"life": 0},
    {"gone_in": 0},
)


class PingMaker:
    """Makes the pings of one pool: `make(sequence, target, now)`."""

    def __init__(
        self,
        table: MemberTable,
        store: Store,
        tombstones: Tombstones,
        sync_state: Callable[[], SyncState],
        cluster_id: OwnClusterId,
    ) -> None:
        self._table, self._store, self._tombstones = table, store, tombstones
        self._sync_state, self.cluster_id = sync_state, cluster_id

    def make(self, sequence: int, target: str, now: Now) -> Ping:
        return Ping(
            sequence=sequence,
            sender=self._table.me.name,
            target=target,
            root=self._store.digest.root,
            wall_ms=max(now.wall_ms, 0),
            sync_state=self._sync_state(),
            life=life_of(self._table.me.site),
            held=self.held_for(target),
            cluster=self.cluster_id.digest,
        )

    def held_for(self, name: str) -> int:
        """The time, of a member's clock, up to which this node holds all that had arrived there; 0
        for a name that it does not know."""
        known = self._table.members.get(name)
        return 0 if known is None else self._tombstones.held_for(known)


class ProbeAnswers:
    def __init__(
        self,
        kind: PoolKind,
        *,
        pings: PingMaker,
        store: Store,
        tombstones: Tombstones,
        acks: AckTracker,
        clock_guard: ClockGuard,
        sync_state: Callable[[], SyncState],
        membership: Membership,
        settling: Settling,
        join_targets: JoinTargets,
        join_handshake: JoinHandshake,
        joining: Joining,
        exchanges: ExchangeScheduler,
        doctor: Doctor,
        is_member: Callable[[str], bool],
        outbox: PoolOutbox,
        counters: Counter[str],
    ) -> None:
        self._kind, self._pings, self._store, self._tombstones = kind, pings, store, tombstones
        self._acks, self._clock_guard, self._sync_state = acks, clock_guard, sync_state
        self._membership, self._join_targets = membership, join_targets
        self._join_handshake, self._exchanges, self._doctor = join_handshake, exchanges, doctor
        self._settling, self._joining = settling, joining
        self._is_member, self._outbox, self._counters = is_member, outbox, counters

    def on_ping(self, ping: Ping, arrival: Arrival) -> None:
        membership = self._membership
        if ping.target != membership.me.name:
            self._counters["pings_for_another_name"] += 1
            return
        prober = membership.members.get(ping.sender)
        ack = Ack(
            sequence=ping.sequence,
            sender=membership.me.name,
            root=self._store.digest.root,
            wall_ms=max(arrival.now.wall_ms, 0),
            sync_state=self._sync_state(),
            life=life_of(membership.me.site),
            held=self._pings.held_for(ping.sender),
            coordinate=membership.coordinates.own.packed(),
            stranger=prober is None,
            future_ms=self._clock_guard.future_ms(arrival.now),
            gone_in=prober.generation if prober is not None and not prober.reachable else 0,
        )
        if not arrival.reliable:
            membership.own_host.reached()
            here = arrival.source.host
            if prober is not None and here not in (prober.host, prober.other_host):
                ack = replace(ack, seen_host=here)
        if not arrival.reliable:
            ack = _fitting(ack, self._outbox.room_for(arrival.source))
        self._outbox.send_probe(ack, arrival.source, prober, reliable=arrival.reliable)
        membership.table.heard(ping.sender, arrival.now.monotonic_s)
        if prober is None:
            self._joining.knows_us(arrival.source, arrival.now)
        speaks = membership.table.speaks(ping.sender, arrival)
        if speaks and not arrival.reliable and not membership.table.proofs.has(arrival.source):
            membership.probing.hasten(ping.sender)
        self._saw(ping, arrival.now, asked=False, speaks=speaks)
        if ping.cluster and ping.cluster != self._pings.cluster_id.digest:
            self.knows_more(ping.sender, arrival.now)
        if not arrival.reliable:
            self._doctor.heard(ping.sender, arrival.now)
            membership.round_trips.links.heard(ping.sender)

    def knows_more(self, name: str, now: Now) -> None:
        """A member of the same cluster, if it is one, knows of an id or a merge that this node has
        not heard of, or the other way round."""
        if self._is_member(name):
            self._joining.learn(self._membership.members[name].address, name, now)

    def on_ack(self, ack: Ack, arrival: Arrival) -> None:
        if self._join_handshake.on_ack(ack, arrival.now) or self._doctor.on_ack(ack, arrival):
            return
        if (record := self._membership.claims.answered(ack)) is not None:
            self._membership.prove(record, arrival.now)
        self._membership.obituaries.answered(ack, arrival.now)
        asked_s = self._membership.probing.on_ack(ack, arrival)
        if ack.stranger:
            # now that it has shown that it lives there
            self._introduce(ack.sender, arrival.source)
        if ack.gone_in:
            # it takes this node for dead, or for one that has left, and has to hear that it lives
            gone = replace(self._membership.me, state=MemberState.DEAD, generation=ack.gone_in)
            self._membership.merge(gone, arrival.now)
        if asked_s is not None and self._is_member(ack.sender):
            self._clock_guard.saw(ack.sender, ack.wall_ms, asked_s, arrival.now, ack.future_ms)
            if not arrival.reliable:
                membership = self._membership
                seen = membership.own_host.seen(membership.me, ack.seen_host, arrival.source.host)
                membership.move(seen)
        speaks = asked_s is not None or self._membership.table.speaks(ack.sender, arrival)
        self._saw(ack, arrival.now, asked=True, speaks=speaks)

    def _introduce(self, to: str, source: Address) -> None:
        """This member does not know this node: it was forgotten, or pruned, while it was cut
        off."""
        membership = self._membership
        me, member = membership.me, membership.members.get(to)
        is_there = member is not None and member.address == source
        if is_there and me.host and not membership.table.leaving:
            self._outbox.send_probe(me, source, member)

    def _saw(self, probe: Ping | Ack, now: Now, *, asked: bool, speaks: bool) -> None:
        """A probe carries the peer's root and sync state. A node that has not settled yet does not
        wait for a difference.

        Ping and ack show both sides the same difference in one instant. Were both to act on it,
        everything would cross twice: so only the side that asked does; and a node that has settled
        leaves it to an unsettled peer to catch up.

        `speaks`: it is the member's own word, by its address or by a number of ours: else, and
        where it is that of another life, it says nothing of what the member holds.
        """
        if not self._is_member(probe.sender):
            return
        sender = self._membership.members[probe.sender]
        speaks = speaks and is_of(sender, probe.life)
        if speaks:
            self._tombstones.heard(sender, probe.held, probe.root)
        settled = self._sync_state() is SyncState.SETTLED
        peer_settled = probe.sync_state is SyncState.SETTLED
        self._settling.saw(probe.sync_state)
        learns = self._settling.learns_from(probe.sync_state) or (
            not settled and self._join_targets.may_learn_from(probe.sender, probe.sync_state)
        )
        if learns and not self._clock_guard.rests(probe.sender, now):
            self._exchanges.start(probe.sender, now)
        act = asked and (peer_settled or not settled) and self._membership.table.is_peer(sender)
        self._exchanges.saw_root(probe.sender, probe.root, now, act=act)
        if self._acks.waits and speaks and probe.root == self._store.digest.root:
            self._acks.equals(Peer(self._kind, probe.sender), self._store.record)


def _fitting(ack: Ack, room: int) -> Ack:
    """The ack as it fits into so many bytes, where it can: without what its receiver needs least.
    A stranger's question may not have a longer answer (pool_outbox.py)."""
    for left_out in _NEEDED_LEAST:
        if len(encode_briefly(ack)) <= room:
            break
        ack = replace(ack, **left_out)
    return ack
