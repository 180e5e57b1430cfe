"""Mongering: rumor mongering in one pool. Whom to tell, how the packets are filled, and what to
answer.

Active side: news is sent at once to `gossip_fanout` random peers, then every gossip interval while
it is hot; where the policy pulls, peers are asked for theirs each interval. An own write goes to
`direct_fanout` peers at once. In a cluster that small everybody hears it in one hop, and is told
so: then the others do not forward it. Its author tells those again whose packet was lost, each
interval while it is hot; where the author dies meanwhile, anti-entropy does. Were they to forward
it, each of three members would hear every write twice, and each of seventeen many times; under load
that took a third of a hearer's time. Others may reach whom the author believes dead: while there is
somebody like that, they forward it at their next round. Passive side: merge each rumor, spread the
news further, and answer with one bit a rumor: did we know it? Where the policy limits connections,
packets beyond the limit are refused, and their senders hunt elsewhere. Minimization compares the
counters of both sides, which do not travel: it is for the simulator.

Where everybody is told at once, many rumors to one peer are a burst: one frame over its link
instead of datagram after datagram, each of which costs both sides as much as several rumors do, and
an answer besides. In a cluster that small there is a link to everybody anyway.

An entry too large for a datagram travels as a notice, and whoever lacks it fetches the body over
TCP (lesson 7: never dropped). The bytes of one round to one peer are bounded; under a flood the
oldest go first and anti-entropy carries the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

from kvgossip.config import Address, Config
from kvgossip.protocol.acks.tracker import AckTracker
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.merging import MergePort, Origin, Outcome, Spread
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.entry import HEAD_BYTES, Version, version_of
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.outbox import SendPort
from kvgossip.protocol.rumors.batches import Batches, is_batch_key, key_of
from kvgossip.protocol.rumors.burst_window import BurstWindow
from kvgossip.protocol.rumors.hot_list import HotList, HotRumor, bit_of, bitmap
from kvgossip.protocol.rumors.policy import Mode, RumorPolicy
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.batching import batches
from kvgossip.protocol.wire.frame import encode
from kvgossip.protocol.wire.message import (
    Bodies,
    Bundle,
    Busy,
    Feedback,
    Fetch,
    Gossip,
    Notice,
    Pair,
    Pull,
    Rumor,
)

ROUND_BYTES_MAX = 64 * 1024
FETCH_MAX = 64
NOTICE_BYTES_MIN = 1024
REFUSED_MAX = 1024
FETCH_BYTES_MAX = 4 * 2**20
GOSSIP_UNIT_BYTES_MAX = 160
BURST_DATAGRAMS = 2
"""What fits into so many datagrams is no burst."""


def life_of(site: int) -> int:
    """What Feedback tells of who sends it."""
    return site & 0xFFFFFFFF


def policy_of(config: Config) -> RumorPolicy:
    return RumorPolicy(
        k=config.rumor_k,
        mode=Mode(config.rumor_mode),
        feedback=config.rumor_feedback,
        counter=config.rumor_counter,
        connection_limit=config.rumor_connection_limit,
        hunt=config.rumor_hunt,
    )


def _spread_of(gossip: Gossip) -> Spread:
    """How this node spreads what it hears by this packet."""
    if gossip.whole:
        return Spread.OTHER_POOLS
    return Spread.NEXT_ROUND if gossip.direct else Spread.NOW


class Body(NamedTuple):
    """A body that was asked for."""

    source: Address
    size: int
    asked_s: float


class Mongering:
    def __init__(
        self,
        config: Config,
        kind: PoolKind,
        *,
        store: Store,
        tombstones: Tombstones,
        batches: Batches,
        merging: MergePort,
        acks: AckTracker,
        membership: Membership,
        outbox: SendPort,
        rng: Random,
    ) -> None:
        self.rumors = HotList(policy_of(config), config.rumors_max, rng)
        self._config, self._kind, self._rng = config, kind, rng
        self._store, self._tombstones, self._batches = store, tombstones, batches
        self._merging, self._acks = merging, acks
        self._membership, self._outbox = membership, outbox
        self._unit_bytes_max = outbox.datagram_room - GOSSIP_UNIT_BYTES_MAX
        self._bursts = BurstWindow(config.exchange_timeout_s)
        self._fetching: dict[str, Body] = {}
        self._fetching_bytes = 0
        self._refused: Newest[str, bytes] = Newest(REFUSED_MAX)
        self.gossips = 0
        self._next_round_s = 0.0
        self._accepted = 0
        self._window_ends_s = 0.0

    # -- active side ------------------------------------------------------------------------------

    def heat(self, key: str, record: bytes, heard_from: str | None, *, at_once: bool) -> None:
        """Spread this news, at once or from the next round on."""
        if self._membership.peers and self.rumors.policy.k:
            unit = self._rumor(key, record)
            version, notice = record[1:HEAD_BYTES], unit is None
            self.rumors.heat(
                key,
                unit or self._notice(key, record),
                heard_from,
                at_once=at_once,
                is_notice=notice,
                version=version,
            )
            self._await_direct(at_once)

    def _await_direct(self, at_once: bool) -> None:
        if not at_once and self._next_round_s < self._merging.news_s:
            # no round is waiting: give the direct packets their time
            self._next_round_s = self._merging.news_s + self._config.gossip_interval_s

    def heat_batch(
        self, entries: tuple[Pair, ...], heard_from: str | None, *, at_once: bool
    ) -> None:
        """Spread this batch as one rumor."""
        if self._membership.peers and self.rumors.policy.k:
            key, version = key_of(entries), version_of(entries[0][1])
            unit: bytes | None = (
                encode(Bundle(entries))
                if sum(len(record) for _, record in entries) < self._unit_bytes_max
                else None
            )
            if unit is None or len(unit) > self._unit_bytes_max:
                self._batches.keep(entries)
                unit = encode(Notice(key, *version, sum(len(record) for _, record in entries)))
            is_notice = key in self._batches
            self.rumors.heat(
                key,
                unit,
                heard_from,
                at_once=at_once,
                is_notice=is_notice,
                version=entries[0][1][1:HEAD_BYTES],
            )
            self._await_direct(at_once)

    def _rumor(self, key: str, record: bytes) -> bytes | None:
        """The entry itself, if it fits into a datagram."""
        unit = encode(Rumor(key, record)) if len(record) < self._unit_bytes_max else b""
        return unit if 0 < len(unit) <= self._unit_bytes_max else None

    def _notice(self, key: str, record: bytes) -> bytes:
        version = version_of(record)
        return encode(Notice(key, version.timestamp, version.site, len(record)))

    def deadline(self) -> float | None:
        if self.rumors.fresh:
            return 0.0
        busy = (
            len(self.rumors)
            or self.rumors.policy.mode.pulls
            or (self._membership.has_news and len(self._membership.members) > 1)
        )
        return self._next_round_s if busy else None

    def tick(self, now: Now) -> None:
        if not self._membership.peers:
            self.rumors.cool_all()
        pushes = self.rumors.policy.mode.pushes
        fresh = self.rumors.take_fresh() if self.rumors.fresh else []
        if pushes:
            self._tell_at_once(fresh, now)
        if now.monotonic_s >= self._next_round_s:
            self._next_round_s = now.monotonic_s + self._config.gossip_interval_s
            targets = self._membership.gossip_targets(self._config.gossip_fanout, now)
            told = {id(rumor) for rumor in fresh}
            self._round(
                targets,
                [rumor for rumor in self.rumors.hot() if id(rumor) not in told] if pushes else [],
            )
            self._pull()

    def _tell_at_once(self, fresh: list[HotRumor], now: Now) -> None:
        own = [rumor for rumor in fresh if rumor.own]
        forwarded = [rumor for rumor in fresh if not rumor.own]
        if own:
            peers = self._membership.choose(
                max(self._config.direct_fanout, self._config.gossip_fanout)
            )
            if len(peers) == len(self._membership.peers):
                self._tell_everybody(peers, own, now)
            else:
                self._round(peers, own)
        if forwarded:
            self._round(self._membership.choose(self._config.gossip_fanout), forwarded)

    def _pull(self) -> None:
        if self.rumors.policy.mode.pulls:
            for peer in self._membership.choose(self._config.gossip_fanout):
                self._outbox.send(Pull(self._membership.me.name), peer.address)

    def flush(self) -> None:
        """Tell as many peers as possible before leaving."""
        for peer in self._membership.peers[: 4 * self._config.gossip_fanout]:
            self._tell(peer, list(self.rumors.hot()))

    def _round(self, targets: Sequence[Member], rumors: list[HotRumor]) -> None:
        for peer in targets:
            self._tell(peer, rumors)

    def _tell_everybody(self, peers: Sequence[Member], rumors: list[HotRumor], now: Now) -> None:
        for peer in peers:
            wanted, size = self._wanted(peer, rumors)
            if size > BURST_DATAGRAMS * self._unit_bytes_max and self._bursts.may_leave(
                peer.name, now.monotonic_s
            ):
                news = self._outbox.news_for(peer, self._outbox.datagram_room)
                self._bursts.left(
                    peer.name,
                    self._send(peer, news, wanted, direct=True, reliable=True),
                    now.monotonic_s,
                )
            else:
                self._send_packets(peer, wanted, direct=True)

    def _tell(self, peer: Member, rumors: Iterable[HotRumor], *, hunts: int = 0) -> None:
        self._send_packets(peer, self._wanted(peer, rumors)[0], hunts=hunts)

    def _wanted(self, peer: Member, rumors: Iterable[HotRumor]) -> tuple[list[HotRumor], int]:
        """Those of these rumors that this peer is to be told now, and how long they are."""
        found: list[HotRumor] = []
        peers, size = len(self._membership.peers), 0
        for rumor in rumors if self._membership.is_peer(peer) else ():
            if size >= ROUND_BYTES_MAX:
                break
            if self.rumors.contact(peer.name, rumor, peers):
                found.append(rumor)
                size += len(rumor.unit)
        return found, size

    def _send_packets(
        self, peer: Member, rumors: list[HotRumor], *, direct: bool = False, hunts: int = 0
    ) -> None:
        """Datagrams for one peer: membership news first, then rumors, each filled to its limit."""
        units = self._outbox.news_for(peer, self._outbox.datagram_room)
        room = self._unit_bytes_max - sum(map(len, units))
        batch: list[HotRumor] = []
        for rumor in rumors:
            if len(rumor.unit) > room:
                self._send(peer, units, batch, direct=direct, hunts=hunts)
                units, batch, room = [], [], self._unit_bytes_max
            batch.append(rumor)
            room -= len(rumor.unit)
        self._send(peer, units, batch, direct=direct, hunts=hunts)

    def _send(
        self,
        peer: Member,
        units: list[bytes],
        batch: list[HotRumor],
        *,
        direct: bool,
        hunts: int = 0,
        reliable: bool = False,
    ) -> int:
        """One frame; the sequence number under which its rumors will be answered, 0 where it has
        none."""
        sequence = 0
        if batch:
            self.gossips += 1
            sequence, whole = (
                self.rumors.sent(peer.name, batch, hunts),
                direct and self._membership.is_whole,
            )
            gossip = encode(Gossip(sequence, self._membership.me.name, direct, whole))
            units = [*units, gossip, *(rumor.unit for rumor in batch)]
        if units:
            self._outbox.send_units(units, peer.address, reliable=reliable)
        return sequence

    # -- passive side -----------------------------------------------------------------------------

    @property
    def hot(self) -> int:
        """How many rumors are hot."""
        return len(self.rumors)

    def on_gossip(
        self,
        gossip: Gossip,
        rumors: Sequence[Rumor | Notice | Bundle],
        whole: bool,
        arrival: Arrival,
    ) -> None:
        """A packet of rumors. Unless it was `whole`, places cannot be counted, so it is merged but
        not answered."""
        now = arrival.now
        if self._is_over_limit(now):
            busy = Busy(sequence=gossip.sequence)
            self._outbox.send(busy, arrival.source, reliable=arrival.reliable)
            return
        origin = Origin(Peer(self._kind, gossip.sender), _spread_of(gossip))
        known: list[bool] = []
        collected: list[bool] = []
        lacking: list[Notice] = []
        for rumor in rumors:
            if isinstance(rumor, Rumor):
                outcome = self._merging.merge(rumor.key, rumor.record, now, origin)
                known.append(outcome is not Outcome.NEWS)
                collected.append(outcome is Outcome.COLLECTED)
            elif isinstance(rumor, Bundle):
                outcome = self._merging.merge_batch(rumor.entries, now, origin)
                known.append(outcome is not Outcome.NEWS)
                collected.append(False)
            else:
                collected.append(not is_batch_key(rumor.key) and self._has_collected(rumor))
                known.append(collected[-1] or self._has(rumor))
                if not known[-1]:
                    lacking.append(rumor)
        if whole and rumors:
            feedback = Feedback(
                sequence=gossip.sequence,
                known=bitmap(known),
                collected=bitmap(collected) if any(collected) else b"",
                life=life_of(self._membership.me.site),
            )
            self._outbox.send(feedback, arrival.source, reliable=arrival.reliable)
        holder = self._membership.members.get(gossip.sender)
        self._fetch(lacking, arrival.source if holder is None else holder.address, now)

    def _is_over_limit(self, now: Now) -> bool:
        """Whether this packet is one too many of this gossip interval, where packets are
        limited."""
        if now.monotonic_s >= self._window_ends_s:
            self._accepted = 0
            self._window_ends_s = now.monotonic_s + self._config.gossip_interval_s
        self._accepted += 1
        return 0 < self.rumors.policy.connection_limit < self._accepted

    def _has_collected(self, notice: Notice) -> bool:
        return self._tombstones.has_collected(notice.key, Version(notice.timestamp, notice.site))

    def _has(self, notice: Notice) -> bool:
        """Whether the body is not worth fetching: it is here, or was refused when it came."""
        if is_batch_key(notice.key):
            return notice.key in self._batches
        record = self._store.record(notice.key)
        version, refused = (notice.timestamp, notice.site), self._refused.get(notice.key)
        return (record is not None and version_of(record) >= version) or (
            refused is not None and version_of(refused) == version
        )

    def _fetch(self, notices: list[Notice], source: Address, now: Now) -> None:
        """Ask for bodies, but for those that are on their way, and only so much at a time.

        What is not fetched now is noticed again: its rumor stays hot, since we answered that it is
        news.
        """
        for key in [
            key
            for key, body in self._fetching.items()
            if now.monotonic_s - body.asked_s > self._config.exchange_timeout_s
        ]:
            self._fetched(key)
        keys: list[str] = []
        for notice in notices[:FETCH_MAX]:
            size = min(max(notice.size, NOTICE_BYTES_MIN), self._config.value_bytes_max)
            room = not self._fetching or self._fetching_bytes + size <= FETCH_BYTES_MAX
            if room and notice.key not in self._fetching:
                self._fetching[notice.key] = Body(source, size, now.monotonic_s)
                self._fetching_bytes += size
                keys.append(notice.key)
        if keys:
            self._outbox.send(Fetch(tuple(keys)), source, reliable=True)

    def fetch(self, notice: Notice, source: Address, now: Now) -> None:
        """Ask for this body, unless it is here or on its way."""
        if not self._has(notice):
            self._fetch([notice], source, now)

    def _fetched(self, key: str) -> None:
        body = self._fetching.pop(key, None)
        if body is not None:
            self._fetching_bytes -= body.size

    def on_pull(self, pull: Pull, arrival: Arrival) -> None:
        peer = self._membership.members.get(pull.sender)
        if peer is not None and peer.reachable:
            self._tell(peer, list(self.rumors.hot()))

    def on_busy(self, answer: Busy, arrival: Arrival) -> None:
        """Hunt: try somebody else, a bounded number of times."""
        packet = self.rumors.refused(answer.sequence)
        if packet is None:
            return
        self._bursts.answered(packet.peer, answer.sequence)
        others = [peer for peer in self._membership.peers if peer.name != packet.peer]
        if packet.hunts < self.rumors.policy.hunt and others:
            self._tell(self._rng.choice(others), packet.rumors, hunts=packet.hunts + 1)

    def on_feedback(self, answer: Feedback, arrival: Arrival) -> None:
        packet = self.rumors.feedback(answer.sequence, answer.known)
        if packet is None:
            return
        self._bursts.answered(packet.peer, answer.sequence)
        if not (self._acks or answer.collected):
            return
        member = self._membership.members.get(packet.peer)
        same = member is not None and answer.life in (0, life_of(member.site))
        peer = Peer(self._kind, packet.peer)
        for place, rumor in enumerate(packet.rumors):
            if bit_of(answer.collected, place):
                self._tombstones.drop_collected_rumor(
                    rumor.key, rumor.version, packet.peer, arrival.now
                )
            elif rumor.is_notice or bit_of(answer.known, place) or not same:
                # a notice says nothing of the body, what was no news may have been refused, and
                # another node is there now
                self._acks.prompt(peer, rumor.key)
            else:
                self._acks.showed(peer, rumor.key, rumor.version)

    def on_fetch(self, fetch: Fetch, arrival: Arrival) -> None:
        source = arrival.source
        for key in dict.fromkeys(fetch.keys):
            entries = self._batches.get(key)
            if entries is not None:
                self._outbox.send(Bundle(entries), source, reliable=True)
        pairs = [
            (key, record)
            for key in dict.fromkeys(fetch.keys)
            if (record := self._store.record(key)) is not None
        ]
        sent = 0
        for batch in batches(pairs, self._config.message_bytes_max):
            sent += sum(len(record) for _, record in batch)
            if sent > FETCH_BYTES_MAX and len(batch) < len(pairs):
                return  # nobody honest asks for so much at a time
            self._outbox.send(Bodies(batch), source, reliable=True)

    def on_bodies(self, bodies: Bodies, arrival: Arrival) -> None:
        origin = self._fetched_from(arrival.source)
        for key, record in bodies.entries:
            self._fetched(key)
            if self._merging.merge(key, record, arrival.now, origin) is Outcome.REFUSED:
                self._refused[key] = record[:HEAD_BYTES]

    def on_bundle(self, bundle: Bundle, arrival: Arrival) -> None:
        """A batch that was fetched; one that comes unasked is welcome, too."""
        self._fetched(key_of(bundle.entries))
        # also where nothing of it is news, or it would be noticed and fetched again
        self._batches.keep(bundle.entries)
        self._merging.merge_batch(bundle.entries, arrival.now, self._fetched_from(arrival.source))

    def _fetched_from(self, source: Address) -> Origin:
        return Origin(Peer(self._kind, self._membership.name_at(source)), Spread.NOW)

    def forget(self, peer: str) -> None:
        """It is no peer any more."""
        self._bursts.forget(peer)

    def unreachable(self, address: Address) -> None:
        """Bodies that were asked for there may be asked for elsewhere."""
        self._bursts.forget(self._membership.name_at(address))
        for key in [key for key, body in self._fetching.items() if body.source == address]:
            self._fetched(key)
