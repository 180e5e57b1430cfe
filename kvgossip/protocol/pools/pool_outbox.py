"""PoolOutbox: messages of one pool on their way out - framed, and filled up with membership news.

Nothing is sent to an address that the operator has blocked (blocklist.py).

Law: **a datagram of a stranger makes no more bytes than it has.** Its source may be a lie, and so
may every address that it names: so who is no member would let this node, and all others that it
knows, send to a third one many times what it sends itself. An address is a stranger's until a
member has answered a number of ours there (proofs.py). While a datagram from there is
handled, all datagrams to such addresses together have at most its length; what is longer is
withheld, and counted. Answers to those alone who have answered carry membership news: strangers
would use it up as well. What a stranger asks over a link is not bounded so: its address is no lie,
since it has taken part in a handshake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from kvgossip.config import Address, Config
from kvgossip.protocol.ingress.blocklist import Blocklist
from kvgossip.protocol.ingress.gate import Gate
from kvgossip.protocol.membership.dissemination import Dissemination
from kvgossip.protocol.membership.member_table import MemberTable
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.wire.batching import chunks
from kvgossip.protocol.wire.message import Message, Ping
from kvgossip.protocol.wire.unit import encode, encode_briefly

# asked for every peer of every packet (see merging.py)
_ALIVE = MemberState.ALIVE

MEMBERS_A_FRAME = 100
PADDING = bytes(64)
"""An ack with all that it may say is so much longer than a ping."""


class PoolOutbox:
    """The SendPort of a pool."""

    def __init__(
        self,
        config: Config,
        kind: PoolKind,
        gate: Gate,
        blocklist: Blocklist,
        table: MemberTable,
        dissemination: Dissemination,
        outbox: Outbox,
        counters: Counter[str],
    ) -> None:
        self._config, self._kind, self._gate, self._blocklist = config, kind, gate, blocklist
        self._table, self._dissemination = table, dissemination
        self._outbox, self._counters = outbox, counters
        #: how many bytes strangers may still get for the datagram that is handled; None: any number
        self._allowed_bytes: int | None = None

    def begin(self, data: bytes, arrival: Arrival) -> None:
        """What is sent from now on is for this frame."""
        if not arrival.reliable and not self._table.proofs.has(arrival.source):
            self._allowed_bytes = len(data)

    def end(self) -> None:
        """The frame has been handled."""
        self._allowed_bytes = None

    @property
    def datagram_room(self) -> int:
        """How many bytes of units fit into a datagram."""
        return self._gate.datagram_room

    def send_units(
        self,
        units: list[bytes],
        to: Address,
        *,
        reliable: bool = False,
        joining: bool = False,
        fresh: bool = False,
    ) -> None:
        """One frame of encoded units as they are."""
        if self._blocklist.covers_address(to):
            self._counters["frames_to_blocked"] += 1
            return
        data = self._gate.framing.frame(units, reliable=reliable, joining=joining)
        if not reliable and self._allowed_bytes is not None and not self._table.proofs.has(to):
            if len(data) > self._allowed_bytes:
                self._counters["answers_withheld"] += 1
                return
            self._allowed_bytes -= len(data)
        self._counters["bytes_sent"] += len(data)
        self._counters["frames_sent"] += 1
        self._outbox.send(to, data, reliable=reliable, pool=self._kind, fresh=fresh)

    def room_for(self, to: Address) -> int:
        """How many bytes of units a datagram to this address may have now."""
        if self._allowed_bytes is None or self._table.proofs.has(to):
            return self.datagram_room
        return min(self.datagram_room, self._allowed_bytes - self._gate.framing.overhead_bytes)

    def send(
        self, message: Message, to: Address, *, reliable: bool = False, fresh: bool = False
    ) -> None:
        """One message; a datagram to a member is filled up with membership news."""
        if reliable or self._table.proofs.has(to):
            units = [encode(message)]
            if not reliable and self._dissemination.has_news:
                units += self._dissemination.take_news(self.datagram_room - len(units[0]))
        else:
            units = [encode_briefly(message)]
        self.send_units(units, to, reliable=reliable, fresh=fresh)

    def send_probe(
        self,
        message: Message | Member,
        to: Address,
        member: Member | None,
        *,
        reliable: bool = False,
    ) -> None:
        """A message of failure detection. To a member that is not alive goes first what this node
        believes of it (the buddy system of Lifeguard)."""
        is_proven = reliable or self._table.proofs.has(to)
        if isinstance(message, Ping) and not is_proven:
            message = replace(message, padding=PADDING)
        units = [encode(message) if is_proven else encode_briefly(message)]
        room = (self.datagram_room if reliable else self.room_for(to)) - len(units[0])
        if not is_proven:
            units += self._belief(member, room) if member is not None else []
        elif member is not None:
            units += self.news_for(member, room)
        else:
            units += self._dissemination.take_news(room)
        self.send_units(units, to, reliable=reliable)

    def _belief(self, peer: Member, room: int) -> list[bytes]:
        """What this node believes of the peer, where that is not alive; as far as there is room."""
        current = self._table.members.get(peer.name, peer)
        if not self._config.buddy or current.state is _ALIVE:
            return []
        unit = encode(current)
        return [unit] if len(unit) <= room else []

    def news_for(self, peer: Member, room: int) -> list[bytes]:
        """Membership news for this peer that fits into `room` bytes: first what this node believes
        of the peer itself, where that is not alive."""
        current = self._table.members.get(peer.name, peer)
        if current.state is _ALIVE and not self._dissemination.has_news:
            return []
        units = self._belief(peer, room)
        news = self._dissemination.take_news(room - sum(map(len, units)))
        return list(dict.fromkeys([*units, *news]))

    def send_members(self, to: Address, members: Iterable[Member]) -> None:
        """Records of members, reliably."""
        for some in chunks([encode(member) for member in members], MEMBERS_A_FRAME):
            self.send_units(some, to, reliable=True)
