"""Pool: one gossip pool - membership, rumors and anti-entropy under one profile - put together from
its mechanisms, and what happens between them.

A gateway has two pools over one copy of the data. The members of the WAN pool that it also reaches
in its LAN pool are probed and told of members here too, but rumors and exchanges take the short
way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from kvgossip.config import Address, Config
from kvgossip.errors import NotFoundError
from kvgossip.protocol.acks.inquiry import VersionQueries
from kvgossip.protocol.acks.tracker import AckTracker
from kvgossip.protocol.acks.write_concern import Candidate
from kvgossip.protocol.anti_entropy.scheduler import ExchangeScheduler
from kvgossip.protocol.anti_entropy.survey import Surveys, measure
from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.doctor.examination import Doctor
from kvgossip.protocol.effect import JoinRefused, MemberChanged, Resolve
from kvgossip.protocol.ingress.blocklist import Blocklist
from kvgossip.protocol.ingress.gate import Gate
from kvgossip.protocol.membership.identity import Identity
from kvgossip.protocol.membership.join_handshake import JoinHandshake
from kvgossip.protocol.membership.join_targets import JoinTargets
from kvgossip.protocol.membership.known_peers import KnownPeers
from kvgossip.protocol.membership.member_warnings import MemberWarnings
from kvgossip.protocol.membership.partition_watch import PartitionWatch
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.merging import Merging
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.pools.dispatch import Dispatch, Handler
from kvgossip.protocol.pools.own_condition import OwnCondition
from kvgossip.protocol.pools.pool_outbox import PoolOutbox
from kvgossip.protocol.pools.probe_answers import PingMaker, ProbeAnswers
from kvgossip.protocol.rumors.batches import Batches
from kvgossip.protocol.rumors.mongering import Mongering
from kvgossip.protocol.settling import Settling
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Conclude,
    Concluded,
    Decoded,
    Differ,
    Entries,
    Leaves,
    Merged,
    Push,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.frame import encode
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import (
    Ack,
    Bodies,
    Bundle,
    Busy,
    Condition,
    Confirm,
    Enquire,
    Examine,
    Feedback,
    Fetch,
    Join,
    JoinReply,
    KeyringOrder,
    KeyringReport,
    Measure,
    Measured,
    Nack,
    Ping,
    PingRequest,
    Prune,
    Pull,
    Sights,
)

FAREWELLS_MAX = 64


class OtherPools(Protocol):
    """The pools of a replica, as one of them sees the others."""

    def beside(self, kind: PoolKind) -> Pool | None: ...


class KeyringHandlers(Protocol):
    """What a replica does with orders for keyrings, and with reports of them."""

    def on_order(self, order: KeyringOrder, arrival: Arrival, kind: PoolKind) -> None: ...

    def on_report(self, report: KeyringReport, arrival: Arrival, kind: PoolKind) -> None: ...


@dataclass(frozen=True, slots=True)
class Shared:
    """What all pools of a replica share."""

    store: Store
    tombstones: Tombstones
    merging: Merging
    settling: Settling
    acks: AckTracker
    batches: Batches
    surveys: Surveys
    clock_guard: ClockGuard
    key_rotation: KeyringHandlers
    blocklist: Blocklist
    #: None: frames are not sealed
    keyring: Keyring | None
    #: None: this node has none of its own
    identity: Identity | None
    pools: OtherPools
    outbox: Outbox
    rng: Random

    def sync_state(self) -> SyncState:
        return self.settling.sync_state


def own_record(
    config: Config,
    address: Address,
    generation: int,
    site: int,
    identity: Identity | None,
    *,
    gateway: bool,
) -> Member:
    """This node, as it is told to its pool."""
    return Member(
        name=config.name,
        host=address.host,
        port=address.port,
        state=MemberState.ALIVE,
        generation=generation,
        incarnation=0,
        site=site,
        datacenter=config.datacenter,
        http=str(config.http) if config.http else "",
        zone=config.zone,
        coordinates=config.coordinates,
        identity=identity.fingerprint if identity is not None else b"",
        gateway=gateway,
    )


class Pool:
    """`me` is this node's own record in it, `peers` whom an earlier life knew there, and where."""

    def __init__(
        self,
        config: Config,
        kind: PoolKind,
        me: Member,
        shared: Shared,
        peers: Mapping[str, Address],
        now: Now,
    ) -> None:
        self.kind = kind
        self.counters: Counter[str] = Counter()
        self._shared = shared
        self.gate = Gate(
            config,
            kind,
            me,
            shared.keyring,
            shared.outbox,
            self.counters,
            self._address_beside,
            self._cannot_read,
        )
        self.name = self.gate.pool
        self.outbox = PoolOutbox(
            config,
            kind,
            self.gate,
            shared.blocklist,
            lambda: self.membership,
            shared.outbox,
            self.counters,
        )
        self._pings = PingMaker(
            me.name, shared.store, shared.tombstones, lambda: self.membership, shared.sync_state
        )
        self.membership = Membership(
            config,
            me,
            rng=shared.rng,
            send=self.outbox.send_probe,
            make_ping=self._pings.make,
            shut_out=shared.blocklist.covers,
            reached_otherwise=self._reaches_in_lan if kind is PoolKind.WAN else None,
            now=now,
        )
        self.mongering = Mongering(
            config,
            kind,
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
            kind,
            store=shared.store,
            acks=shared.acks,
            membership=self.membership,
            fetch=self.mongering.fetching.fetch,
            outbox=self.outbox,
        )
        self.exchanges = ExchangeScheduler(
            config,
            kind,
            store=shared.store,
            tombstones=shared.tombstones,
            merging=shared.merging,
            sync_state=shared.sync_state,
            membership=self.membership,
            send_port=self.outbox,
            outbox=shared.outbox,
            rng=shared.rng,
            now=now,
        )
        self.partition = PartitionWatch(config)
        self.warnings = MemberWarnings(self.membership, self.partition, self.gate, shared.outbox)
        self._condition = OwnCondition(
            membership=self.membership,
            partition=self.partition,
            warnings=self.warnings,
            keyring=shared.keyring,
            sync_state=shared.sync_state,
            wan=self._wan_membership,
        )
        self.join_targets = JoinTargets(config.join, config, me.name, now)
        self.known_peers = KnownPeers(peers, kind, config, shared.rng, now)
        self.join_handshake = JoinHandshake(
            config,
            kind,
            membership=self.membership,
            send_port=self.outbox,
            outbox=shared.outbox,
            refuse=self.gate.refuse,
            make_ping=self._pings.make,
            sync_state=shared.sync_state,
            identity=shared.identity,
        )
        self.doctor = Doctor(
            config,
            kind,
            membership=self.membership,
            send_port=self.outbox,
            outbox=shared.outbox,
            condition=self._condition.at,
            make_ping=self._pings.make,
        )
        self.probe_answers = ProbeAnswers(
            kind,
            pings=self._pings,
            store=shared.store,
            tombstones=shared.tombstones,
            acks=shared.acks,
            clock_guard=shared.clock_guard,
            sync_state=shared.sync_state,
            membership=self.membership,
            join_targets=self.join_targets,
            join_handshake=self.join_handshake,
            exchanges=self.exchanges,
            doctor=self.doctor,
            is_member=self.is_member,
            outbox=self.outbox,
            counters=self.counters,
        )
        #: those that have something to do at some time, but for membership and exchanges
        self._waiting = (
            self.mongering,
            self.join_targets,
            self.join_handshake,
            self.known_peers,
            self.doctor,
        )
        self.dispatch = Dispatch(
            self._handlers(),
            self._on_join,
            gate=self.gate,
            blocklist=shared.blocklist,
            membership=self.membership,
            mongering=self.mongering,
            join_handshake=self.join_handshake,
            doctor=self.doctor,
            sealed=shared.keyring is not None,
            counters=self.counters,
        )

    def _handlers(self) -> dict[type, Handler]:
        """By the type of the message."""
        rotation, kind = self._shared.key_rotation, self.kind
        handlers: dict[type, Handler] = {
            Ping: self.probe_answers.on_ping,
            Ack: self.probe_answers.on_ack,
            Nack: self.membership.on_nack,
            PingRequest: self.membership.on_ping_request,
            Prune: self.membership.on_prune,
            Member: self.membership.on_member,
            Feedback: self.mongering.on_feedback,
            Busy: self.mongering.on_busy,
            Pull: self.mongering.on_pull,
            Fetch: self.mongering.fetching.on_fetch,
            Bodies: self.mongering.fetching.on_bodies,
            Bundle: self.mongering.fetching.on_bundle,
            Enquire: self.version_queries.on_enquire,
            Confirm: self.version_queries.on_confirm,
            Examine: self.doctor.on_examine,
            Condition: self.doctor.on_condition,
            Sights: self.doctor.on_sights,
            Measure: self._on_measure,
            Measured: self._on_measured,
            KeyringOrder: lambda order, arrival: rotation.on_order(order, arrival, kind),
            KeyringReport: lambda report, arrival: rotation.on_report(report, arrival, kind),
        }
        questions = (Sketch, Compare, Leaves, Want, Push, Conclude)
        answers = (Decoded, Symbols, Differ, Entries, Merged, Concluded)
        handlers |= dict.fromkeys(questions, self.exchanges.responder.on_question)
        return handlers | dict.fromkeys(answers, self.exchanges.on_answer)

    # -- frames -----------------------------------------------------------------------------------

    def receive(self, data: bytes, arrival: Arrival) -> None:
        """Handle one frame. Whatever it holds, this raises nothing."""
        self.dispatch.receive(data, arrival)
        self.take_changes(arrival.now)

    def unreachable(self, address: Address, now: Now) -> None:
        """A reliable frame could not be delivered there, or the link broke."""
        self.join_handshake.unreachable(address)
        self.exchanges.unreachable(address, now)
        self.mongering.unreachable(address)
        self.membership.doubt(address, now)
        self.take_changes(now)

    # -- joining ----------------------------------------------------------------------------------

    def join(self, addresses: Iterable[Address]) -> None:
        """Ask the nodes at these addresses to take this one in."""
        for address in addresses:
            if self._shared.blocklist.covers_address(address):
                text = (
                    f"{address} is blocked on this node: `kvgossip unblock` it before you join it"
                )
                self._shared.outbox.emit(JoinRefused(address, text, self.kind))
            else:
                self.join_handshake.ask(address)

    def resolved(self, target: str, addresses: Sequence[Address]) -> None:
        """DNS has these addresses of a join target."""
        self.join(self.join_targets.resolved(target, addresses, self.is_member))

    def _on_join(self, message: Join | JoinReply, members: list[Member], arrival: Arrival) -> None:
        if isinstance(message, Join):
            self.join_handshake.on_join(message, members, arrival)
        elif self.join_handshake.on_reply(message, members, arrival):
            self.join_targets.answered(arrival.source, message.sender)
            self._shared.outbox.persist(self.known_peers.answered(arrival.source, message.sender))
            if message.sender == self.membership.me.name:
                self._shared.settling.introduced()
            else:
                self.exchanges.start(message.sender, arrival.now)

    # -- surveys and the doctor -------------------------------------------------------------------

    def _on_measure(self, question: Measure, arrival: Arrival) -> None:
        store = self._shared.store
        keys, precision = measure(store, question)
        answer = Measured(
            number=question.number,
            sender=self.membership.me.name,
            root=store.digest.root,
            keys=keys,
            precision=precision,
        )
        self.outbox.send(answer, arrival.source, reliable=True)

    def _on_measured(self, answer: Measured, arrival: Arrival) -> None:
        self._shared.surveys.answered(answer, Peer(self.kind, answer.sender))

    def examine(self, now: Now, one: str, other: str) -> None:
        """See Replica.examine."""
        for name in (one, other) if one else ():
            if name not in self.membership.members:
                raise NotFoundError(
                    f"no member is named {name!r}", "`kvgossip members` shows who is known"
                )
        if one:
            self.doctor.ask(one, other, now)
        else:
            self.doctor.start(now)

    def _cannot_read(self, source: Address, text: str) -> None:
        self.join_handshake.failed(source, text, final=False)

    # -- members ----------------------------------------------------------------------------------

    @property
    def _beside(self) -> Pool | None:
        return self._shared.pools.beside(self.kind)

    def _wan_membership(self) -> Membership | None:
        wan = self if self.kind is PoolKind.WAN else self._beside
        return None if wan is None else wan.membership

    def _address_beside(self) -> Address | None:
        """Where this node is reached in its other pool."""
        beside = self._beside
        return beside.membership.me.address if beside is not None else None

    def _reaches_in_lan(self, gateway: Member) -> bool:
        """Whether this node reaches this gateway, in its present life, in its LAN pool too."""
        beside = self._beside
        known = beside.membership.members.get(gateway.name) if beside is not None else None
        return (
            beside is not None
            and known is not None
            and known.site == gateway.site
            and beside.is_member(gateway.name)
        )

    def is_member(self, name: str) -> bool:
        """Whether somebody of this name is alive or suspect, and not blocked."""
        member = self.membership.members.get(name)
        return member is not None and member.reachable and not self._shared.blocklist.covers(member)

    def knows_as_neighbour(self, name: str) -> bool:
        """Whether one and the same node, a gateway, has this name in both pools of this node."""
        beside = self._beside
        here = self.membership.members.get(name)
        there = beside.membership.members.get(name) if beside is not None else None
        return here is not None and there is not None and here.site == there.site

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
        """Tell the driver what changed, and draw the consequences: who came back is exchanged with
        at once."""
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
            if new is None:
                self._forget(old.name)
                continue
            if not old.reachable and membership.is_peer(new):
                self.exchanges.start(new.name, now)
            elif old.reachable and not new.reachable:
                self._forget(new.name)
                self.join_targets.lost(now)

    def _remember(self, old: Member | None, new: Member | None) -> None:
        """A later life on the same disk shall find the members again, and who waits for one shall
        know what became of it."""
        member = new or old
        if member is not None and member.name != self.membership.me.name:
            self._shared.outbox.persist(self.known_peers.changed(member.name, new))
            self._shared.acks.changed(Peer(self.kind, member.name), old, new)

    # -- time -------------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When something is due, monotonic seconds."""
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
        settled = self._shared.settling.settled
        if self.join_targets.is_due(now, settled):
            strangers = self.join_targets.strangers(self.is_member)
            self._shared.outbox.emit(*(Resolve(target, self.kind) for target in strangers))
            for name in [] if settled else self.join_targets.unexchanged():
                self.exchanges.start(name, now)
        self.join(self.known_peers.due(now))
        self._shared.outbox.persist(self.known_peers.forgotten(now))
        self.exchanges.tick(now)
        self.mongering.tick(now)
        self.doctor.tick(now)

    def leave(self, now: Now) -> None:
        """Say farewell: own rumors first, then that we are gone, to as many as is decent."""
        self.mongering.flush()
        self.membership.leave()
        for peer in self.membership.reachable[:FAREWELLS_MAX]:
            self.outbox.send_units([encode(self.membership.me)], peer.address)
        self.take_changes(now)

    # -- questions --------------------------------------------------------------------------------

    def surveyed(self) -> list[Member]:
        """Whom a survey asks: each member on one way only, as `candidates`."""
        return [
            member
            for member in self.membership.reachable
            if not self._is_reached_in_lan(member.name)
        ]

    def _is_reached_in_lan(self, name: str) -> bool:
        return self.kind is PoolKind.WAN and self.knows_as_neighbour(name)

    def candidates(self) -> list[Candidate]:
        """The other members that have not left and are not blocked, each on one way only: who is in
        both pools, in the LAN pool."""
        members = (self.membership.members[name] for name in sorted(self.membership.members))
        return [
            Candidate(Peer(self.kind, member.name), member.zone, member.reachable)
            for member in members
            if member.name != self.membership.me.name
            and member.state is not MemberState.LEFT
            and not self._shared.blocklist.covers(member)
            and not self._is_reached_in_lan(member.name)
        ]

    def statistics(self) -> dict[str, int]:
        """Counters since the start and present sizes, by name."""
        exchanges, membership = self.exchanges, self.membership
        return {
            **self.counters,
            "rumors_hot": len(self.mongering.rumors),
            "gossips_sent": self.mongering.gossips,
            "rumors_cooled": self.mongering.rumors.cooled,
            "exchanges_started": exchanges.started,
            "exchanges_completed": exchanges.completed,
            "exchanges_cut": exchanges.cut,
            "exchanges_futile": exchanges.futile,
            "exchange_rounds": exchanges.rounds,
            "exchange_news": exchanges.news,
            "awareness": membership.awareness.score,
            "name_conflicts": membership.conflicts,
            "names_refused": membership.names_refused,
            "lives_refused": membership.lives_refused,
            "blocked_news": membership.blocked_news,
            "identities_refused": membership.identities_refused,
            "members_without_udp": len(membership.round_trips.blocked()),
            "coordinate_samples": membership.coordinates.samples,
            "coordinates_refused": membership.coordinates.refused,
            "coordinate_resets": membership.coordinates.resets,
            "partitions_suspected": self.partition.count,
        }
