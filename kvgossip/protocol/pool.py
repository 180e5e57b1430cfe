"""Pool: one gossip pool - membership, spreading and repair under one profile - and its door: frames
in, frames out.

Who is outside, and what they are told, is the matter of gate.py. Whom the operator has blocked is
dropped too, and gets nothing from us (blocklist.py).

A gateway has two pools over one copy of the data. `reached_otherwise` says of the WAN pool's
members which of them it also reaches in its LAN pool: they are probed and told of members here too,
but rumors and exchanges take the short way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from random import Random
from typing import Any

from kvgossip.config import Address, Config
from kvgossip.errors import RemoteError
from kvgossip.protocol.acks.inquiry import VersionQueries
from kvgossip.protocol.acks.write_concern import Candidate
from kvgossip.protocol.anti_entropy.scheduler import ExchangeScheduler
from kvgossip.protocol.anti_entropy.survey import measure
from kvgossip.protocol.doctor.examination import Doctor
from kvgossip.protocol.effect import Effect, JoinRefused, Log, MemberChanged, Resolve, Send
from kvgossip.protocol.ingress.gate import Gate
from kvgossip.protocol.membership.join_handshake import JoinHandshake
from kvgossip.protocol.membership.join_targets import JoinTargets
from kvgossip.protocol.membership.known_peers import KnownPeers
from kvgossip.protocol.membership.partition_watch import PartitionWatch
from kvgossip.protocol.membership.round_trip import BLOCKED_AFTER
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.merging import Data
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.rumors.mongering import Mongering
from kvgossip.protocol.wire.batching import chunks
from kvgossip.protocol.wire.frame import BAD_MEMBER, FORMAT, encode, is_refusal
from kvgossip.protocol.wire.message import (
    Ack,
    Bodies,
    Bundle,
    Busy,
    Compare,
    Conclude,
    Concluded,
    Condition,
    Confirm,
    Decoded,
    Differ,
    Enquire,
    Entries,
    Examine,
    Feedback,
    Fetch,
    Gossip,
    Join,
    JoinReply,
    KeyringOrder,
    KeyringReport,
    Leaves,
    Measure,
    Measured,
    Merged,
    Message,
    Nack,
    Notice,
    Ping,
    PingRequest,
    Prune,
    Pull,
    Push,
    Refused,
    Rumor,
    Sights,
    Sketch,
    Symbols,
    Want,
)

FAREWELLS_MAX = 64
MEMBERS_A_FRAME = 100
RIVAL_KEPT_S = 300.0
DATACENTERS_TOLD = 64
LINK_QUESTIONS = frozenset(
    (Join, Fetch, Sketch, Compare, Leaves, Want, Push, Conclude, KeyringOrder, Measure, Examine)
)
QUESTIONS = LINK_QUESTIONS | {Ping, PingRequest, Pull, Enquire}


class Pool:
    """`me` is this node's own record in it; effects are appended to `effects`. `beside` is this
    node's other pool, if it has one.

    `peers`: whom an earlier life knew in it, and where.
    """

    def __init__(
        self,
        config: Config,
        kind: PoolKind,
        me: Member,
        data: Data,
        rng: Random,
        effects: list[Effect],
        now: Now,
        peers: Mapping[str, Address],
    ) -> None:
        self.kind = kind
        self.beside: Pool | None = None
        self.counters: Counter[str] = Counter()
        self._config, self._data, self._effects = config, data, effects
        self.gate = Gate(
            config,
            kind,
            me,
            data.keyring,
            effects,
            self.counters,
            self._elsewhere,
            self._cannot_read,
        )
        self.name = self.gate.pool
        self._lives_refused = 0
        self._rival, self._rival_s = "", -math.inf
        self.membership = Membership(config, me, rng, self._send_probe, now)
        self.membership.shut_out = data.blocklist.covers
        self.mongering = Mongering(config, data, self.membership, self, rng)
        self.version_queries = VersionQueries(data, self.membership, self.mongering, self)
        self.exchanges = ExchangeScheduler(config, data, self.membership, self, rng, effects, now)
        self.partition = PartitionWatch(config)
        self.join_targets = JoinTargets(config.join, config, me.name, now)
        self.known_peers = KnownPeers(peers, kind, config, rng, now)
        self.join_handshake = JoinHandshake(
            config,
            self.membership,
            self,
            effects,
            self.gate.refuse,
            lambda: data.sync_state,
            kind,
            data.identity,
        )
        self.doctor = Doctor(
            config, self.membership, self, effects, self._condition, self._ping_at, kind
        )
        self._waiting = (
            self.mongering,
            self.join_targets,
            self.join_handshake,
            self.known_peers,
            self.doctor,
        )
        self._handlers: dict[type, Callable[[Any, Address, Now], None]] = {
            Nack: lambda told, source, now: self.membership.on_nack(told),
            PingRequest: lambda told, source, now: self.membership.on_ping_request(
                told, source, now, self._ping_at(now)
            ),
            Prune: lambda told, source, now: self.membership.prune(told.member, now),
            Member: lambda told, source, now: self.membership.merge(told, now),
            Refused: self._on_refused,
            Examine: self.doctor.on_examine,
            Condition: lambda told, source, now: self.doctor.on_condition(told, now),
            Sights: lambda told, source, now: self.doctor.on_sights(told, now),
            Feedback: lambda told, source, now: self.mongering.on_feedback(told, now),
            Busy: lambda told, source, now: self.mongering.on_busy(told),
            Pull: lambda told, source, now: self.mongering.on_pull(told, source),
            Fetch: lambda told, source, now: self.mongering.on_fetch(told, source),
            Bodies: self.mongering.on_bodies,
            Bundle: self.mongering.on_bundle,
            KeyringOrder: data.keyring_heard,
            KeyringReport: data.keyring_heard,
            Measure: self._on_measure,
            Measured: lambda told, source, now: self._data.measured(told),
            Confirm: lambda told, source, now: self.version_queries.on_confirm(told),
        }
        self._handlers |= dict.fromkeys(
            (Sketch, Compare, Leaves, Want, Push, Conclude), self.exchanges.on_question
        )
        self._handlers |= dict.fromkeys(
            (Decoded, Symbols, Differ, Entries, Merged, Concluded),
            lambda told, source, now: self.exchanges.on_answer(told, now),
        )

    # -- frames out --------------------------------------------------------------------------------

    @property
    def datagram_room(self) -> int:
        return self.gate.datagram_room

    def send_units(self, units: list[bytes], to: Address, *, reliable: bool = False) -> None:
        if self._data.blocklist.covers_address(to):
            self.counters["frames_to_blocked"] += 1
            return
        data = self.gate.framing.frame(units, reliable=reliable)
        self.counters["bytes_sent"] += len(data)
        self.counters["frames_sent"] += 1
        self._effects.append(Send(to, data, reliable, self.kind))

    def send(self, told: Message, to: Address, *, reliable: bool = False) -> None:
        units = [encode(told)]
        if not reliable and self.membership.has_news:
            units += self.membership.take_news(self.datagram_room - len(units[0]))
        self.send_units(units, to, reliable=reliable)

    def _send_probe(
        self, told: Message, to: Address, member: Member | None, *, reliable: bool = False
    ) -> None:
        """To a member that is not alive goes first what we believe of it (the buddy system of
        Lifeguard)."""
        units = [encode(told)]
        room = self.datagram_room - len(units[0])
        units += (
            self.news_for(member, room) if member is not None else self.membership.take_news(room)
        )
        self.send_units(units, to, reliable=reliable)

    def news_for(self, peer: Member, room: int) -> list[bytes]:
        current = self.membership.members.get(peer.name, peer)
        if current.state is MemberState.ALIVE and not self.membership.has_news:
            return []
        units = (
            [encode(current)]
            if self._config.buddy and current.state is not MemberState.ALIVE
            else []
        )
        return list(
            dict.fromkeys([*units, *self.membership.take_news(room - sum(map(len, units)))])
        )

    def send_members(self, to: Address, members: Iterable[Member]) -> None:
        for some in chunks([encode(member) for member in members], MEMBERS_A_FRAME):
            self.send_units(some, to, reliable=True)

    # -- frames in ---------------------------------------------------------------------------------

    def receive(self, data: bytes, source: Address, now: Now, *, reliable: bool) -> None:
        """Handle one frame. Whatever it holds, this raises nothing: faults are counted by
        reason."""
        self.counters["frames_received"] += 1
        self.counters["bytes_received"] += len(data)
        if self._data.blocklist.covers_address(source):
            self.counters["frames_dropped.blocked"] += 1
            return
        opened = self.gate.open(data, source, now, reliable=reliable)
        if opened is None:
            return
        for reason in opened.faults:
            self.counters[f"units_dropped.{reason}"] += 1
        if is_refusal(data):
            self._refused_in_clear(opened.messages, source, now, reliable)
            return
        messages = self._admitted(opened.messages, source)
        if self.membership.leaving:
            # who was told of a large entry in the farewell may still fetch its body; all else comes
            # too late
            messages = [told for told in messages if isinstance(told, Fetch)]
        # a record of a member that cannot be read does not shift the places of rumors
        whole = all(reason == BAD_MEMBER for reason in opened.faults)
        self._handle(messages, whole, source, now, reliable)
        self.take_changes(now)

    def _admitted(
        self, messages: list[Message | Member], source: Address
    ) -> list[Message | Member]:
        admitted = (
            self._data.blocklist.admitted(messages, source) if self._data.blocklist else messages
        )
        if admitted is None:
            self.counters["frames_dropped.blocked"] += 1
        return admitted or []

    def _handle(
        self,
        messages: list[Message | Member],
        whole: bool,
        source: Address,
        now: Now,
        reliable: bool,
    ) -> None:
        gossip: Gossip | None = None
        rumors: list[Rumor | Notice | Bundle] = []
        questions = 0
        for place, told in enumerate(messages):
            if type(told) in QUESTIONS:
                # one question a frame, and what costs much to answer over links only: else small
                # frames would ask for many large ones
                questions += 1
                if questions > 1 or (not reliable and type(told) in LINK_QUESTIONS):
                    self.counters["units_dropped.unexpected_question"] += 1
                    continue
            if isinstance(told, (Rumor, Notice)) or (
                isinstance(told, Bundle) and gossip is not None
            ):
                rumors.append(told)
            elif isinstance(told, Gossip):
                gossip = told
            elif isinstance(told, Ping):
                self._on_ping(told, source, now, reliable)
            elif isinstance(told, Enquire):
                self.version_queries.on_enquire(told, source, now, reliable)
            elif isinstance(told, Ack):
                self._on_ack(told, now, reliable)
            elif isinstance(told, (Join, JoinReply)):
                self._on_introduction(
                    told,
                    [member for member in messages[place + 1 :] if isinstance(member, Member)],
                    source,
                    now,
                )
                return
            else:
                self._dispatch(told, source, now)
        if gossip is not None:
            self.mongering.heard(gossip, rumors, whole, source, now, reliable=reliable)

    def _dispatch(self, told: Message | Member, source: Address, now: Now) -> None:
        try:
            self._handlers[type(told)](told, source, now)
        except RemoteError as fault:
            self.counters[f"units_dropped.{fault.reason}"] += 1

    def unreachable(self, address: Address, now: Now) -> None:
        """A reliable frame could not be delivered there, or the link broke."""
        self.join_handshake.unreachable(address)
        self.exchanges.unreachable(address, now)
        self.mongering.unreachable(address)
        self.membership.doubt(address, now)
        self.take_changes(now)

    # -- refusals ----------------------------------------------------------------------------------

    def _refused_in_clear(
        self, messages: Iterable[Message | Member], source: Address, now: Now, reliable: bool
    ) -> None:
        """Anybody may have written it. Where frames are sealed, a member that takes us in all the
        same is still believed."""
        for told in messages:
            if isinstance(told, Refused):
                text = self.gate.heard(told, source, now)
                self.doctor.refused(source, text)
                if reliable:
                    self.join_handshake.failed(source, text, final=self._data.keyring is None)

    def _on_refused(self, told: Refused, source: Address, now: Now) -> None:
        text = self.gate.heard(told, source, now)
        self.doctor.refused(source, text)
        self.join_handshake.failed(source, text)

    def _cannot_read(self, source: Address, text: str) -> None:
        self.join_handshake.failed(source, text, final=False)

    def _elsewhere(self) -> Address | None:
        return self.beside.membership.me.address if self.beside is not None else None

    # -- probes ------------------------------------------------------------------------------------

    def _ping_at(self, now: Now) -> Callable[[int, str], Ping]:
        """Makes the pings of this instant."""
        return partial(self._ping, now)

    def _ping(self, now: Now, sequence: int, target: str) -> Ping:
        data, wall_ms = self._data, max(now.wall_ms, 0)
        return Ping(
            sequence,
            self.membership.me.name,
            target,
            data.store.digest.root,
            wall_ms,
            data.sync_state,
            self._held_for(target),
        )

    def _held_for(self, name: str) -> int:
        known = self.membership.members.get(name)
        return 0 if known is None else self._data.tombstones.held_for(known)

    def _on_ping(self, ping: Ping, source: Address, now: Now, reliable: bool) -> None:
        if ping.target != self.membership.me.name:
            self.counters["pings_for_another_name"] += 1
            return
        me, data, place = self.membership.me, self._data, self.membership.coordinates.own.packed()
        held = self._held_for(ping.sender)
        ack = Ack(
            ping.sequence,
            me.name,
            data.store.digest.root,
            max(now.wall_ms, 0),
            data.sync_state,
            held,
            place,
        )
        self._send_probe(ack, source, self.membership.members.get(ping.sender), reliable=reliable)
        self._saw(ping, now, asked=False)
        if not reliable:
            self.doctor.heard(ping.sender, now)

    def _on_ack(self, ack: Ack, now: Now, reliable: bool) -> None:
        if not self.join_handshake.on_ack(ack) and not self.doctor.on_ack(
            ack, now, reliable=reliable
        ):
            asked_s = self.membership.on_ack(ack, now, reliable=reliable)
            if asked_s is not None and self.is_member(ack.sender):
                self._data.saw_clock(ack.sender, ack.wall_ms, asked_s, now)
            self._saw(ack, now, asked=True)

    def _saw(self, told: Ping | Ack, now: Now, *, asked: bool) -> None:
        """A probe tells the peer's root and standing. Who has not settled yet does not wait for a
        difference.

        Ping and ack show both sides the same difference in one instant. Were both to act on it,
        everything would cross twice: so only who asked does; and who has settled leaves it to an
        unsettled peer to catch up.
        """
        if not self.is_member(told.sender):
            return
        self._data.tombstones.heard(self.membership.members[told.sender], told.held, told.root)
        settled, peer_settled = (
            self._data.sync_state is SyncState.SETTLED,
            told.sync_state is SyncState.SETTLED,
        )
        if not settled and self.join_targets.may_learn_from(told.sender, told.sync_state):
            self.exchanges.start(told.sender, now)
        act = (
            asked
            and (peer_settled or not settled)
            and self.membership.is_peer(self.membership.members[told.sender])
        )
        self.exchanges.saw_root(told.sender, told.root, now, act=act)
        if self._data.acks and told.root == self._data.store.digest.root:
            self._data.equals(told.sender)

    def _on_measure(self, asked: Measure, source: Address, now: Now) -> None:
        store = self._data.store
        self.send(
            Measured(
                asked.number, self.membership.me.name, store.digest.root, *measure(store, asked)
            ),
            source,
            reliable=True,
        )

    # -- examinations ------------------------------------------------------------------------------

    def _condition(self, sequence: int, now: Now) -> Condition:
        """How this node is, as it tells whoever examines it."""
        me, keyring = self.membership.me, self._data.keyring
        return Condition(
            sequence,
            me.name,
            me.site,
            self._data.sync_state,
            (FORMAT, FORMAT),
            tuple(keyring.ids) if keyring is not None else (),
            self.kind is PoolKind.WAN or self.beside is not None,
            len(self.partition.lost),
            self._rival if now.monotonic_s - self._rival_s < RIVAL_KEPT_S else "",
            self._datacenters(),
        )

    def _datacenters(self) -> tuple[tuple[str, int, int], ...]:
        """Every datacenter that this node, as a gateway, knows, with its gateways that are alive,
        and that died."""
        wan = self if self.kind is PoolKind.WAN else self.beside
        counts: dict[str, list[int]] = {}
        for member in wan.membership.members.values() if wan is not None else ():
            if member.state is not MemberState.LEFT:
                counts.setdefault(member.datacenter, [0, 0])[not member.reachable] += 1
        return tuple(
            (name, alive, gone) for name, (alive, gone) in list(counts.items())[:DATACENTERS_TOLD]
        )

    # -- joining and changes of membership ---------------------------------------------------------

    def _on_introduction(
        self, told: Join | JoinReply, members: list[Member], source: Address, now: Now
    ) -> None:
        if isinstance(told, Join):
            self.join_handshake.on_join(told, members, source, now, self._ping_at(now))
        elif self.join_handshake.on_reply(told, members, source, now):
            self.join_targets.answered(source, told.sender)
            self._effects += self.known_peers.answered(source, told.sender)
            if told.sender == self.membership.me.name:
                self._data.introduced()
            else:
                self.exchanges.start(told.sender, now)

    def join(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            if self._data.blocklist.covers_address(address):
                text = (
                    f"{address} is blocked on this node: `kvgossip unblock` it before you join it"
                )
                self._effects.append(JoinRefused(address, text, self.kind))
            else:
                self.join_handshake.ask(address)

    def is_member(self, name: str) -> bool:
        member = self.membership.members.get(name)
        return member is not None and member.reachable and not self._data.blocklist.covers(member)

    def knows_as_neighbour(self, name: str) -> bool:
        """Whether one and the same node, a gateway, has this name in both pools of this node."""
        here = self.membership.members.get(name)
        there = self.beside.membership.members.get(name) if self.beside is not None else None
        return here is not None and there is not None and here.site == there.site

    def regard_blocks(self, now: Now) -> None:
        """Somebody was blocked or unblocked."""
        self.membership.regard_blocks(now)
        for member in self.membership.members.values():
            if self._data.blocklist.covers(member):
                self._forget(member.name)

    def _forget(self, peer: str) -> None:
        self.exchanges.forget(peer)
        self.mongering.forget(peer)

    def take_changes(self, now: Now) -> None:
        """Tell the driver what changed, and draw the consequences: who came back is exchanged with
        at once."""
        membership = self.membership
        if membership.rival is not None:
            self._report_rival(membership.rival, now)
        if membership.lives_refused > self._lives_refused:
            self._report_lives_refused(now)
        if membership.round_trips.turned:
            self._report_blocked_udp(now)
        if not membership.changes:
            return
        changes, membership.changes = membership.changes, []
        for old, new in changes:
            self._effects.append(MemberChanged(old, new, self.kind))
            self._remember(old, new)
            if old is None or old.name == self.membership.me.name:
                continue
            self._watch_partition(old, new, now)
            if new is None:
                self._forget(old.name)
                continue
            if not old.reachable and self.membership.is_peer(new):
                self.exchanges.start(new.name, now)
            elif old.reachable and not new.reachable:
                self._forget(new.name)
                self.join_targets.lost(now)

    def _remember(self, old: Member | None, new: Member | None) -> None:
        """A later life on the same disk shall find the members again, and who waits for one shall
        know what became of it."""
        told = new or old
        if told is not None and told.name != self.membership.me.name:
            self._effects += self.known_peers.changed(told.name, new)
            self._data.acks.changed(Peer(self.kind, told.name), old, new)

    def _watch_partition(self, old: Member, new: Member | None, now: Now) -> None:
        alive, stretch = 1 + len(self.membership.reachable), self.membership.awareness.factor
        text = self.partition.changed(old, new, alive, stretch, now.monotonic_s)
        if text is not None:
            self._effects.append(Log("WARNING", f"{text} ({self.gate.here})"))

    def _report_rival(self, rival: Member, now: Now) -> None:
        self.membership.rival = None
        self._rival, self._rival_s = str(rival.address), now.monotonic_s
        text = (
            f"another live node, at {rival.address}, uses the name {rival.name!r} of this one, "
            f"at {self.membership.me.address}"
        )
        self.gate.complain("rival", f"{text}: give one of them another --name", now)

    def _report_blocked_udp(self, now: Now) -> None:
        """HotList and probes do not pass, and yet nobody is suspected: an operator must hear of it
        (lesson 13)."""
        turned, self.membership.round_trips.turned = self.membership.round_trips.turned, []
        for member in turned:
            known = self.membership.round_trips.of(member.name)
            blocked = known is not None and known.is_udp_blocked
            if not self.gate.may_complain(f"udp {member.name} {blocked}", now):
                continue
            if blocked:
                text = (
                    f"UDP is blocked between this node and {member.name!r} at {member.address}, "
                    f"TCP works: open UDP port {member.port} in "
                    f"both directions; {BLOCKED_AFTER} probes in a row were answered over TCP only"
                )
                self._effects.append(Log("WARNING", f"{text} ({self.gate.here})"))
            else:
                self._effects.append(
                    Log(
                        "INFO",
                        f"{member.name!r} at {member.address} answers by UDP again "
                        f"({self.gate.here})",
                    )
                )

    def _report_lives_refused(self, now: Now) -> None:
        self._lives_refused = self.membership.lives_refused
        text = (
            "refused members that claim to have started years from now: either they lie, or "
            "the clock of this node is years behind"
        )
        self.gate.complain("lives", f"{text} ({self.gate.here})", now)

    # -- time --------------------------------------------------------------------------------------

    def deadline(self) -> float:
        nearest, repair_s = self.membership.deadline(), self.exchanges.deadline()
        if repair_s < nearest:
            nearest = repair_s
        for each in self._waiting:
            other = each.deadline()
            if other is not None and other < nearest:
                nearest = other
        return nearest

    def tick(self, now: Now) -> None:
        self.membership.tick(now, self._ping_at(now))
        self.join_handshake.tick(now)
        self.take_changes(now)
        settled = self._data.sync_state is SyncState.SETTLED
        if self.join_targets.is_due(now, settled):
            self._effects += [
                Resolve(target, self.kind) for target in self.join_targets.strangers(self.is_member)
            ]
            for name in [] if settled else self.join_targets.unexchanged():
                self.exchanges.start(name, now)
        self.join(self.known_peers.due(now))
        self._effects += self.known_peers.forgotten(now)
        self.exchanges.tick(now)
        self.mongering.tick(now)
        self.doctor.tick(now)

    def leave(self, now: Now) -> None:
        """Say farewell: own rumors first, then that we are gone, to as many as is decent."""
        self.mongering.flush()
        self.membership.leave()
        for peer in self.membership.reachable[:FAREWELLS_MAX]:
            self.send_units([encode(self.membership.me)], peer.address)
        self.take_changes(now)

    # -- questions ---------------------------------------------------------------------------------

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
            and not self._data.blocklist.covers(member)
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
