"""Packets: rumors for one peer, filled into datagrams, or into frames over its link: a burst.

Where everybody hears at once, many rumors to one peer are a burst: a few frames over its link
instead of datagram after datagram, each of which costs both sides as much as several rumors do, and
an answer besides. In a cluster that small there is a link to everybody anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import SendPort
from kvgossip.protocol.rumors.burst_window import BurstWindow
from kvgossip.protocol.rumors.hot_list import HotList, HotRumor
from kvgossip.protocol.wire.message import Gossip
from kvgossip.protocol.wire.unit import encode

#: a list of rumors that fits into so many datagrams is no burst
BURST_DATAGRAMS = 2
#: a packet holds no more than a peer takes from one frame (ingress/budget.py)
PACKET_RUMORS_MAX, BURST_BYTES_MAX = 300, 24 * 1024


class Packets:
    """`unit_bytes_max`: how many bytes of rumors a datagram takes; `patience_s` as in
    BurstWindow."""

    def __init__(
        self,
        rumors: HotList,
        membership: Membership,
        outbox: SendPort,
        unit_bytes_max: int,
        patience_s: float,
    ) -> None:
        #: how many were sent
        self.sent = 0
        self._rumors, self._table, self._outbox = rumors, membership.table, outbox
        self._unit_bytes_max, self._datagram_room = unit_bytes_max, outbox.datagram_room
        self._bursts = BurstWindow(patience_s)

    def send(
        self, peer: Member, rumors: list[HotRumor], *, direct: bool = False, hunts: int = 0
    ) -> None:
        """Datagrams for one peer: membership news first, then rumors, each filled to its limit.
        `direct`: everybody hears it from this node. `hunts`: how many peers refused them before."""
        units, room = self._outbox.news_for(peer, self._datagram_room), self._unit_bytes_max
        if units:
            room -= sum(map(len, units))
        packet: list[HotRumor] = []
        for rumor in rumors:
            if len(rumor.unit) > room or len(packet) == PACKET_RUMORS_MAX:
                self._send(peer, units, packet, direct=direct, hunts=hunts)
                units, packet, room = [], [], self._unit_bytes_max
            packet.append(rumor)
            room -= len(rumor.unit)
        self._send(peer, units, packet, direct=direct, hunts=hunts)

    def send_directly(self, peer: Member, rumors: list[HotRumor], now: Now) -> None:
        """The same where everybody hears it from this node: many rumors are a burst, while the peer
        answers bursts."""
        if self._is_burst(rumors) and self._bursts.may_leave(peer.name, now.monotonic_s):
            news = self._outbox.news_for(peer, self._datagram_room)
            for packet in _bursts_of(rumors):
                sequence = self._send(peer, news, packet, direct=True, reliable=True)
                self._bursts.left(peer.name, sequence, now.monotonic_s)
                news = []
        else:
            self.send(peer, rumors, direct=True)

    def _is_burst(self, rumors: list[HotRumor]) -> bool:
        # each of them fits into a datagram
        return (
            len(rumors) > BURST_DATAGRAMS
            and sum([len(rumor.unit) for rumor in rumors]) > BURST_DATAGRAMS * self._unit_bytes_max
        )

    def _send(
        self,
        peer: Member,
        units: list[bytes],
        packet: list[HotRumor],
        *,
        direct: bool,
        hunts: int = 0,
        reliable: bool = False,
    ) -> int:
        """One frame; the sequence number under which its rumors will be answered, 0 where it has
        none."""
        sequence = 0
        if packet:
            self.sent += 1
            sequence = self._rumors.sent(peer.name, packet, hunts)
            gossip = Gossip(
                sequence=sequence,
                sender=self._table.me.name,
                direct=direct,
                whole=direct and self._table.is_whole,
            )
            units = [*units, encode(gossip), *[rumor.unit for rumor in packet]]
        if units:
            self._outbox.send_units(units, peer.address, reliable=reliable)
        return sequence

    def answered(self, peer: str, sequence: int) -> None:
        """The peer has answered a packet."""
        self._bursts.answered(peer, sequence)

    def forget(self, peer: str) -> None:
        """Its link broke, or it is no peer any more."""
        self._bursts.forget(peer)


def _bursts_of(rumors: Iterable[HotRumor]) -> Iterator[list[HotRumor]]:
    """The rumors of each frame."""
    burst: list[HotRumor] = []
    size = 0
    for rumor in rumors:
        if burst and (len(burst) == PACKET_RUMORS_MAX or size + len(rumor.unit) > BURST_BYTES_MAX):
            yield burst
            burst, size = [], 0
        burst.append(rumor)
        size += len(rumor.unit)
    if burst:
        yield burst
