"""Pool: one gossip pool - membership, rumors and anti-entropy under one profile - put together from
its mechanisms, and what happens between them.

A gateway has two pools over one copy of the data. The members of the WAN pool that it also reaches
in its LAN pool are probed and hear of members here too, but rumors and exchanges take the short
way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from kvgossip.config import Address, Config
from kvgossip.protocol.acks.inquiry import VersionQueries
from kvgossip.protocol.anti_entropy.scheduler import ExchangeScheduler
from kvgossip.protocol.doctor.examination import Doctor
from kvgossip.protocol.effect import MemberChanged
from kvgossip.protocol.ingress.gate import Gate
from kvgossip.protocol.membership.dissemination import Dissemination
from kvgossip.protocol.membership.join_handshake import JoinHandshake
from kvgossip.protocol.membership.join_targets import JoinTargets
from kvgossip.protocol.membership.known_peers import KnownPeers
from kvgossip.protocol.membership.member_table import MemberTable
from kvgossip.protocol.membership.member_warnings import MemberWarnings
from kvgossip.protocol.membership.partition_watch import PartitionWatch
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.pools.beside import Beside
from kvgossip.protocol.pools.dispatch import Dispatch
from kvgossip.protocol.pools.handlers import handlers_of
from kvgossip.protocol.pools.joining import Joining
from kvgossip.protocol.pools.own_condition import OwnCondition
from kvgossip.protocol.pools.own_overview import OwnOverview
from kvgossip.protocol.pools.pool_outbox import PoolOutbox
from kvgossip.protocol.pools.probe_answers import PingMaker, ProbeAnswers
from kvgossip.protocol.pools.shared import Shared
from kvgossip.protocol.pools.survey_answers import SurveyAnswers
from kvgossip.protocol.rumors.mongering import Mongering
from kvgossip.protocol.saved_state import SavedPeer
from kvgossip.protocol.wire.unit import encode

FAREWELLS_MAX = 64


class Pool:
    """`me` is this node's own record in it, `peers` those that an earlier life knew there, by
    name."""

    def __init__(
        self,
        config: Config,
        kind: PoolKind,
        me: Member,
        shared: Shared,
        peers: Mapping[str, SavedPeer],
        now: Now,
    ) -> None:
        self.kind = kind
        self.counters: Counter[str] = Counter()
        self._config, self._shared = config, shared
        self._beside = Beside(kind, shared.pools)
        self.gate = Gate(
            config,
            kind,
            me,
            shared.keyring,
            shared.outbox,
            self.counters,
            elsewhere=self._beside.address,
            other_id=lambda *given: self.joining.other_id(*given),  # noqa: PLW0108 - it comes later
            failed=self._cannot_read,
            is_proven=lambda at: self.membership.table.proofs.has(at),  # noqa: PLW0108 - so does it
        )
        shared.cluster_id.mark(self.gate.framing)
        self.name = self.gate.pool
        self._open_membership(shared, me, now)
        self._open_rumors(shared)
        self._open_exchanges(shared, now)
        self._open_joining(shared, peers, now)
        self._open_doctor(shared)
        #: those that have something to do at some time, but for membership and exchanges
        self._waiting = (
            self.mongering,
            self.join_targets,
            self.join_handshake,
            self.known_peers,
            self.doctor,
        )
        self.dispatch = self._dispatch(shared)

    def _open_membership(self, shared: Shared, me: Member, now: Now) -> None:
        table = MemberTable(
            me,
            is_blocked=shared.blocklist.covers,
            is_reached_otherwise=self._beside.reaches if self.kind is PoolKind.WAN else None,
        )
        dissemination = Dissemination(self._config, table.members)
        self.outbox = PoolOutbox(
            self._config,
            self.kind,
            self.gate,
            shared.blocklist,
            table,
            dissemination,
            shared.outbox,
            self.counters,
        )
        asks = (shared.store, shared.tombstones, shared.sync_state, shared.cluster_id)
        self._pings = PingMaker(table, *asks)
        self.membership = Membership(
            self._config,
            table,
            dissemination,
            rng=shared.rng,
            send=self.outbox.send_probe,
            make_ping=self._pings.make,
            signed_records=shared.signed_records_of(self._config.cluster, self.name),
            now=now,
        )

    def _open_rumors(self, shared: Shared) -> None:
        self.mongering = Mongering(
            self._config,
            self.kind,
            store=shared.store,
            tombstones=shared.tombstones,
            batches=shared.batches,
            merging=shared.merging,
            acks=shared.acks,
            membership=self.membership,
            outbox=self.outbox,
            rng=shared.rng,
        )
        self.version_queries = VersionQueries(
            self.kind,
            store=shared.store,
            acks=shared.acks,
            membership=self.membership,
            fetch=self.mongering.fetching.fetch,
            outbox=self.outbox,
        )

    def _open_exchanges(self, shared: Shared, now: Now) -> None:
        self.exchanges = ExchangeScheduler(
            self._config,
            self.kind,
            store=shared.store,
            tombstones=shared.tombstones,
            merging=shared.merging,
            left_out=shared.left_out,
            sync_state=shared.sync_state,
            membership=self.membership,
            send_port=self.outbox,
            outbox=shared.outbox,
            rng=shared.rng,
            now=now,
        )

    def _open_joining(self, shared: Shared, peers: Mapping[str, SavedPeer], now: Now) -> None:
        self.join_targets = JoinTargets(self._config.join, self._config, self._config.name, now)
        self.known_peers = KnownPeers(peers, self.kind, self._config, shared.rng, now)
        self.join_handshake = JoinHandshake(
            self._config,
            self.kind,
            membership=self.membership,
            send_port=self.outbox,
            outbox=shared.outbox,
            refuse=self.gate.refuse,
            make_ping=self._pings.make,
            sync_state=shared.sync_state,
            cluster_id=shared.cluster_id,
            identity=shared.identity,
        )
        self.joining = Joining(
            self.kind,
            self.membership,
            cluster_id=shared.cluster_id,
            join_targets=self.join_targets,
            join_handshake=self.join_handshake,
            known_peers=self.known_peers,
            exchanges=self.exchanges,
            settling=shared.settling,
            readiness=shared.readiness,
            retry_s=self._config.join_retry_s,
            blocklist=shared.blocklist,
            is_member=self.is_member,
            outbox=shared.outbox,
        )

    def _open_doctor(self, shared: Shared) -> None:
        self.partition = PartitionWatch(self._config)
        self.warnings = MemberWarnings(self.membership, self.partition, self.gate, shared.outbox)
        self._condition = OwnCondition(
            membership=self.membership,
            partition=self.partition,
            warnings=self.warnings,
            keyring=shared.keyring,
            left_out=shared.left_out,
            collecting=shared.tombstones.collecting,
            sync_state=shared.sync_state,
            readiness=shared.readiness,
            clock_guard=shared.clock_guard,
            wan=self._wan_membership,
            disk_problem=shared.disk_problem,
            shell_report=shared.shell_report,
        )
        self.own_overview = OwnOverview(self.membership, self.partition, shared)
        self.doctor = Doctor(
            self._config,
            self.kind,
            membership=self.membership,
            send_port=self.outbox,
            outbox=shared.outbox,
            condition=self._condition.at,
            make_ping=self._pings.make,
        )
        self.probe_answers = ProbeAnswers(
            self.kind,
            pings=self._pings,
            store=shared.store,
            tombstones=shared.tombstones,
            acks=shared.acks,
            clock_guard=shared.clock_guard,
            sync_state=shared.sync_state,
            membership=self.membership,
            settling=shared.settling,
            join_targets=self.join_targets,
            join_handshake=self.join_handshake,
            joining=self.joining,
            exchanges=self.exchanges,
            doctor=self.doctor,
            is_member=self.is_member,
            outbox=self.outbox,
            counters=self.counters,
        )

    def _dispatch(self, shared: Shared) -> Dispatch:
        return Dispatch(
            handlers_of(
                self.kind,
                probe_answers=self.probe_answers,
                membership=self.membership,
                mongering=self.mongering,
                version_queries=self.version_queries,
                exchanges=self.exchanges,
                doctor=self.doctor,
                survey_answers=SurveyAnswers(self.own_overview, self.kind, shared, self.outbox),
                shared=shared,
            ),
            self.joining,
            gate=self.gate,
            blocklist=shared.blocklist,
            membership=self.membership,
            mongering=self.mongering,
            join_handshake=self.join_handshake,
            doctor=self.doctor,
            sealed=shared.keyring is not None,
            counters=self.counters,
        )

    # -- frames -----------------------------------------------------------------------------------

    def receive(self, data: bytes, arrival: Arrival) -> None:
        """Handle one frame. Whatever it holds, this raises nothing."""
        self.gate.has_opened = False
        self.outbox.begin(data, arrival)
        self.dispatch.receive(data, arrival)
        self.take_changes(arrival.now)
        self.outbox.end()

    def unreachable(self, address: Address, now: Now) -> None:
        """A reliable frame could not be delivered there, or the link broke."""
        self.join_handshake.unreachable(address)
        self.exchanges.unreachable(address, now)
        self.mongering.unreachable(address)
        self.membership.probing.doubt(address, now)
        self.take_changes(now)

    def _cannot_read(self, source: Address, text: str) -> None:
        self.join_handshake.failed(source, text, final=False)

    def begin_life(self, site: int, peer: str, now: Now) -> None:
        """This node is another life from now on, as this peer has shown: exchanges start again."""
        self.membership.begin_life(site, now)
        self.gate.begin_life(self.membership.me)
        self.exchanges.begin_again(peer, now)

    # -- members ----------------------------------------------------------------------------------

    def _wan_membership(self) -> Membership | None:
        return self.membership if self.kind is PoolKind.WAN else self._beside.membership

    @property
    def has_company(self) -> bool:
        """True if some other member is reachable."""
        return bool(self.membership.reachable)

    def is_member(self, name: str) -> bool:
        """True if somebody of this name is alive or suspect, and not blocked."""
        member = self.membership.members.get(name)
        return member is not None and member.reachable and not self._shared.blocklist.covers(member)

    def knows_as_neighbour(self, name: str) -> bool:
        """True if one and the same node, a gateway, has this name in both pools of this node."""
        return self._beside.knows(self.membership.members.get(name))

    def regard_blocks(self, now: Now) -> None:
        """Somebody was blocked or unblocked."""
        self.membership.regard_blocks(now)
        for member in self.membership.members.values():
            if self._shared.blocklist.covers(member):
                self._forget(member.name)

    def _forget(self, peer: str) -> None:
        self.exchanges.forget(peer)
        self.mongering.forget(peer)

    def take_changes(self, now: Now) -> None:
        """Tell the driver what changed, and draw the consequences: a member that came back is
        exchanged with at once."""
        self.warnings.look(now)
        membership = self.membership
        if not membership.changes:
            return
        changes, membership.changes = membership.changes, []
        for old, new in changes:
            self._shared.outbox.emit(MemberChanged(old, new, self.kind))
            self._remember(old, new)
            if old is None or old.name == membership.me.name:
                continue
            self.warnings.watch_partition(old, new, now)
            if new is None or not new.reachable or new.site != old.site:
                self._shared.clock_guard.forget(old.name)
            if new is None:
                self._forget(old.name)
            elif not old.reachable and membership.table.is_peer(new):
                self.exchanges.start(new.name, now)
            elif old.reachable and not new.reachable:
                self._forget(new.name)
                self.join_targets.lost(now)

    def _remember(self, old: Member | None, new: Member | None) -> None:
        """A later life on the same disk shall find the members again, and a node that waits for one
        shall know what became of it; and what it writes is known by its site."""
        member = new or old
        if member is not None and member.name != self.membership.me.name:
            self.joining.remember(member.name, new)
            self._shared.acks.changed(Peer(self.kind, member.name), old, new)
            self._shared.lag.changed(old, new)

    # -- time -------------------------------------------------------------------------------------

    def deadline(self) -> float:
        """The time at which something is due, monotonic seconds."""
        nearest, exchanges_s = self.membership.deadline(), self.exchanges.deadline()
        if exchanges_s < nearest:
            nearest = exchanges_s
        for each in self._waiting:
            other = each.deadline()
            if other is not None and other < nearest:
                nearest = other
        return nearest

    def tick(self, now: Now) -> None:
        """Do whatever is due."""
        self.membership.tick(now)
        self.join_handshake.tick(now)
        self.take_changes(now)
        self.joining.tick(now)
        self.exchanges.tick(now)
        self.mongering.tick(now)
        self.doctor.tick(now)

    def leave(self, now: Now) -> None:
        """Say farewell: own rumors first, then that we are gone, to as many as is decent."""
        self.mongering.flush()
        self.membership.leave()
        for peer in self.membership.table.counted[:FAREWELLS_MAX]:
            self.outbox.send_units([encode(self.membership.me)], peer.address)
        self.take_changes(now)

    # -- questions ---------------------------------------------------------------------------------

    def is_reached_in_lan(self, name: str) -> bool:
        """True if this is the WAN pool, and this node is in the LAN pool, too."""
        return self.kind is PoolKind.WAN and self.knows_as_neighbour(name)

    def statistics(self) -> dict[str, int]:
        """Counters since the start and present sizes, by name."""
        return {
            **self.counters,
            **self.mongering.statistics(),
            **self.exchanges.statistics(),
            **self.membership.statistics(),
            "partitions_suspected": self.partition.count,
        }
