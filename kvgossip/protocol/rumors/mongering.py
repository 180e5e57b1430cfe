"""Mongering: the active side of rumor mongering in one pool (see model/gossip.py).

    select peers   gossip_fanout random ones, at once for news and then every gossip interval
    select what    hot rumors that the peer is not known to hold
    send           packets of them (packets.py); their feedback says when a rumor cools

In a cluster of up to `direct_fanout` peers everybody hears an own write from its author at once,
and its packets say so: then the others do not forward it. Its author tells it again, each interval,
to all that have not confirmed it; where the author dies meanwhile, anti-entropy does. So without
loss nobody hears it late, and no chance is in it: the K of rumors that only some heard at first
leaves now and then one of twenty without. In a larger cluster an own write goes to FIRST_PEERS_MAX
peers at once, and they forward it; so does, in one beyond FIRST_PEERS_MAX, what has to be fetched,
or its author would send the body to all. Were they to forward what its author tells everybody, each
of three members would hear every write twice, and each of seventeen many times; under load that
took a third of a hearer's time. Others may reach a member that the author believes dead: while
there is somebody who died less than `gossip_to_dead_s` ago, they forward it at their next round. If
the policy pulls, peers are asked for their rumors each interval.

The bytes of one round to one peer are bounded; under a flood the oldest go first and anti-entropy
carries the rest. Entries too large for a datagram: fetching.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from random import Random

from kvgossip.config import Address, Config
from kvgossip.protocol.acks.tracker import AckTracker
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.merging import MergePort
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.entry import HEAD_BYTES, version_of
from kvgossip.protocol.model.member import Member, MemberState, is_of
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.outbox import SendPort
from kvgossip.protocol.rumors.batches import Batches, key_of
from kvgossip.protocol.rumors.fetching import Fetching
from kvgossip.protocol.rumors.hot_list import HotList, HotRumor, bit_of
from kvgossip.protocol.rumors.packets import Packets
from kvgossip.protocol.rumors.policy import Mode, RumorPolicy
from kvgossip.protocol.rumors.responder import RumorResponder
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.message import Bundle, Busy, Feedback, Notice, Pair, Pull, Rumor
from kvgossip.protocol.wire.unit import encode

ROUND_BYTES_MAX = 64 * 1024
FIRST_PEERS_MAX = 16
#: looked at in one round, rumors times peers: some milliseconds
LOOKS_MAX = 32_768
GOSSIP_UNIT_BYTES_MAX = 160


def policy_of(config: Config) -> RumorPolicy:
    return RumorPolicy(
        k=config.rumor_k,
        mode=Mode(config.rumor_mode),
        feedback=config.rumor_feedback,
        counter=config.rumor_counter,
        connection_limit=config.rumor_connection_limit,
        hunt=config.rumor_hunt,
    )


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
        mode = self.rumors.policy.mode
        self._pushes, self._pulls = mode.pushes, mode.pulls
        self._config, self._kind, self._rng = config, kind, rng
        self._tombstones, self._batches, self._merging = tombstones, batches, merging
        self._acks, self._membership, self._outbox = acks, membership, outbox
        #: asked for every piece of news
        self._table = membership.table
        #: how many bytes of rumors fit into a datagram
        self._unit_bytes_max = outbox.datagram_room - GOSSIP_UNIT_BYTES_MAX
        self._packets = Packets(
            self.rumors, membership, outbox, self._unit_bytes_max, config.exchange_timeout_s
        )
        self.fetching = Fetching(
            config,
            kind,
            store=store,
            batches=batches,
            merging=merging,
            membership=membership,
            outbox=outbox,
        )
        #: the passive side of the same pool
        self.responder = RumorResponder(
            config,
            kind,
            tombstones=tombstones,
            merging=merging,
            fetching=self.fetching,
            membership=membership,
            outbox=outbox,
            connection_limit=self.rumors.policy.connection_limit,
        )
        #: monotonic seconds
        self._next_round_s = 0.0

    @property
    def hot(self) -> int:
        """How many rumors are hot."""
        return len(self.rumors)

    @property
    def gossips(self) -> int:
        """How many packets of rumors were sent."""
        return self._packets.sent

    def statistics(self) -> dict[str, int]:
        """Counters since the start and present sizes, by name."""
        return {
            "rumors_hot": len(self.rumors),
            "gossips_sent": self.gossips,
            "rumors_cooled": self.rumors.cooled,
        }

    # -- news becomes hot -------------------------------------------------------------------------

    def heat(self, key: str, record: bytes, heard_from: str | None, *, at_once: bool) -> None:
        """Spread this news, at once or from the next round on."""
        if self._table.peers and self.rumors.policy.k:
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
        if self._table.peers and self.rumors.policy.k:
            key, version = key_of(entries), version_of(entries[0][1])
            size = sum(len(record) for _, record in entries)
            unit = encode(Bundle(entries=entries)) if size < self._unit_bytes_max else None
            if unit is None or len(unit) > self._unit_bytes_max:
                self._batches.keep(entries)
                unit = encode(
                    Notice(key=key, timestamp=version.timestamp, site=version.site, size=size)
                )
            is_notice = key in self._batches
            self.rumors.heat(
                key,
                unit,
                heard_from,
                at_once=at_once,
                is_notice=is_notice,
                version=entries[0][1][1:HEAD_BYTES],
                entries=entries,
            )
            self._await_direct(at_once)

    def _rumor(self, key: str, record: bytes) -> bytes | None:
        """The entry itself, if it fits into a datagram."""
        fits = len(record) < self._unit_bytes_max
        unit = encode(Rumor(key=key, record=record)) if fits else b""
        return unit if 0 < len(unit) <= self._unit_bytes_max else None

    def _notice(self, key: str, record: bytes) -> bytes:
        timestamp, site = version_of(record)
        return encode(Notice(key=key, timestamp=timestamp, site=site, size=len(record)))

    # -- time -------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        if self.rumors.fresh:
            return 0.0
        busy = (
            self.rumors.own
            or self.rumors.forwarded
            or self._pulls
            or (self._membership.dissemination.has_news and len(self._membership.members) > 1)
        )
        return self._next_round_s if busy else None

    def tick(self, now: Now) -> None:
        if not self._table.peers:
            self.rumors.cool_all()
        pushes = self._pushes
        fresh = self.rumors.take_fresh() if self.rumors.fresh else []
        if pushes:
            self._send_at_once(fresh, now)
        if now.monotonic_s >= self._next_round_s:
            self._next_round_s = now.monotonic_s + self._config.gossip_interval_s
            peers = self.select_peers(now)
            sent = {id(rumor) for rumor in fresh}
            hot = [rumor for rumor in self.rumors.hot() if id(rumor) not in sent] if pushes else []
            mongered = [rumor for rumor in hot if rumor.sends is None]
            for peer in peers:
                self.send(peer, self.select_what(peer, mongered))
            self._send_again([rumor for rumor in hot if rumor.sends is not None], now)
            self._pull()

    def flush(self) -> None:
        """Send to as many peers as possible before leaving."""
        for peer in self._membership.peers[: 4 * self._config.gossip_fanout]:
            self.send(peer, self.select_what(peer, list(self.rumors.hot())))

    # -- select peers, select what, send ----------------------------------------------------------

    def select_peers(self, now: Now) -> list[Member]:
        """Those of a round: hot rumors go to them, and news of members."""
        return self._membership.gossip_targets(self._config.gossip_fanout, now)

    def select_what(self, peer: Member, rumors: Iterable[HotRumor]) -> list[HotRumor]:
        """Those of these rumors that this peer is to hear now."""
        found: list[HotRumor] = []
        peers, size = len(self._membership.peers), 0
        for rumor in rumors if self._membership.table.is_peer(peer) else ():
            if size >= ROUND_BYTES_MAX:
                break
            if self.rumors.contact(peer.name, rumor, peers):
                found.append(rumor)
                size += len(rumor.unit)
        return found

    def send(self, peer: Member, rumors: list[HotRumor], *, hunts: int = 0) -> None:
        """Packets of these rumors, and of membership news. `hunts`: how many peers refused them
        before."""
        self._packets.send(peer, rumors, hunts=hunts)

    def _send_at_once(self, fresh: list[HotRumor], now: Now) -> None:
        peers, own = self._table.peers, [rumor for rumor in fresh if rumor.own]
        spread = [rumor for rumor in fresh if not rumor.own]
        fanout = self._config.gossip_fanout
        if own and len(peers) <= self._config.direct_fanout and self.rumors.policy.feedback:
            few = len(peers) <= FIRST_PEERS_MAX
            to_all = [rumor for rumor in own if few or not rumor.is_notice]
            for peer in peers:
                if few:
                    self._packets.send_directly(peer, self._unconfirmed(peer, to_all), now)
                else:
                    self._packets.send(peer, self._unconfirmed(peer, to_all), direct=True)
            own = [rumor for rumor in own if not few and rumor.is_notice]
            self.rumors.sent_to_all(to_all, now.monotonic_s)
        if own:
            first = self._membership.choose(
                max(min(self._config.direct_fanout, FIRST_PEERS_MAX), fanout)
            )
            for peer in first:
                what = self.select_what(peer, own)
                self._packets.send(peer, what, direct=len(first) == len(peers))
        if spread:
            for peer in self._membership.choose(fanout):
                self.send(peer, self.select_what(peer, spread))

    def _unconfirmed(self, peer: Member, rumors: Iterable[HotRumor]) -> list[HotRumor]:
        """Those of these own rumors that this peer has not confirmed; as many as one round
        takes."""
        found: list[HotRumor] = []
        size = 0
        for rumor in rumors:
            if size >= ROUND_BYTES_MAX:
                break
            if peer.name not in rumor.holders:
                found.append(rumor)
                size += len(rumor.unit)
        return found

    def _send_again(self, rumors: list[HotRumor], now: Now) -> None:
        """Send these again to all that are alive and have not confirmed them: as many as one round
        takes, the oldest first. In datagrams, for a link may be what has lost them."""
        peers, count = self._table.peers, len(self._table.peers)
        # those sent just now may be confirmed yet
        before_s = now.monotonic_s - self._config.gossip_interval_s / 2
        due = (rumor for rumor in rumors if rumor.sent_s <= before_s)
        rumors = list(islice(due, max(1, LOOKS_MAX // max(1, count))))
        for peer in peers if rumors else ():
            lacking = self._unconfirmed(peer, rumors) if peer.state is MemberState.ALIVE else []
            if lacking:
                self._packets.send(peer, lacking, direct=True)
        self.rumors.sent_to_all(rumors, now.monotonic_s)

    def _settle_confirmed(self, rumors: Iterable[HotRumor]) -> None:
        """Those of these that every peer has confirmed need not be sent any more."""
        peers = self._table.peers
        names: set[str] | None = None
        for rumor in rumors:
            if rumor.sends is not None and len(rumor.holders) >= len(peers):
                names = names or {peer.name for peer in peers}
                if rumor.holders >= names:
                    self.rumors.confirmed(rumor)

    def _pull(self) -> None:
        if self._pulls:
            for peer in self._membership.choose(self._config.gossip_fanout):
                self._outbox.send(Pull(sender=self._membership.me.name), peer.address)

    # -- receive ----------------------------------------------------------------------------------

    def on_pull(self, pull: Pull, arrival: Arrival) -> None:
        peer = self._membership.members.get(pull.sender)
        if peer is not None and peer.reachable:
            self.send(peer, self.select_what(peer, list(self.rumors.hot())))

    def on_busy(self, answer: Busy, arrival: Arrival) -> None:
        """Hunt: try somebody else, a bounded number of times."""
        packet = self.rumors.refused(answer.sequence)
        if packet is None:
            return
        self._packets.answered(packet.peer, answer.sequence)
        others = [peer for peer in self._membership.peers if peer.name != packet.peer]
        if packet.hunts < self.rumors.policy.hunt and others:
            peer = self._rng.choice(others)
            self.send(peer, self.select_what(peer, packet.rumors), hunts=packet.hunts + 1)

    def on_feedback(self, answer: Feedback, arrival: Arrival) -> None:
        packet = self.rumors.feedback(answer.sequence, answer.known)
        if packet is None:
            return
        self._packets.answered(packet.peer, answer.sequence)
        self._settle_confirmed(packet.rumors)
        if not (self._acks.waits or answer.collected):
            return
        if not self._membership.table.speaks(packet.peer, arrival):
            # numbers can be guessed: what it says of the peer is not the peer's word
            return
        member = self._membership.members.get(packet.peer)
        same = member is not None and is_of(member, answer.life)
        peer = Peer(self._kind, packet.peer)
        collected: list[tuple[str, bytes]] = []
        for place, rumor in enumerate(packet.rumors):
            if bit_of(answer.collected, place):
                collected.append((rumor.key, rumor.version))
            elif rumor.is_notice or bit_of(answer.known, place) or not same:
                # a notice says nothing of the body, one that was no news may have been refused, and
                # another node is there now
                self._acks.prompt(peer, rumor.key)
            else:
                self._acks.showed(peer, rumor.key, rumor.version)
        if collected:
            drops = self._tombstones.drops
            drops.as_rumors(collected, packet.peer, answer.expired_ms, arrival.now)

    def forget(self, peer: str) -> None:
        """It is no peer any more."""
        self._packets.forget(peer)

    def unreachable(self, address: Address) -> None:
        """The link with this address broke."""
        self._packets.forget(self._membership.table.name_at(address))
        self.fetching.unreachable(address)
