"""PoolOutbox: messages of one pool on their way out - framed, and filled up with membership news.

Nothing is sent to an address that the operator has blocked (blocklist.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from kvgossip.config import Address, Config
from kvgossip.protocol.ingress.blocklist import Blocklist
from kvgossip.protocol.ingress.gate import Gate
from kvgossip.protocol.membership.dissemination import Dissemination
from kvgossip.protocol.membership.member_table import MemberTable
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.wire.batching import chunks
from kvgossip.protocol.wire.frame import encode
from kvgossip.protocol.wire.message import Message

MEMBERS_A_FRAME = 100


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
        self._counters["bytes_sent"] += len(data)
        self._counters["frames_sent"] += 1
        self._outbox.send(to, data, reliable=reliable, pool=self._kind, fresh=fresh)

    def send(
        self, message: Message, to: Address, *, reliable: bool = False, fresh: bool = False
    ) -> None:
        """One message; a datagram is filled up with membership news."""
        units = [encode(message)]
        if not reliable and self._dissemination.has_news:
            units += self._dissemination.take_news(self.datagram_room - len(units[0]))
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
        units = [encode(message)]
        room = self.datagram_room - len(units[0])
        if member is not None:
            units += self.news_for(member, room)
        else:
            units += self._dissemination.take_news(room)
        self.send_units(units, to, reliable=reliable)

    def news_for(self, peer: Member, room: int) -> list[bytes]:
        """Membership news for this peer that fits into `room` bytes: first what this node believes
        of the peer itself, where that is not alive."""
        current = self._table.members.get(peer.name, peer)
        if current.state is MemberState.ALIVE and not self._dissemination.has_news:
            return []
        is_doubted = self._config.buddy and current.state is not MemberState.ALIVE
        units = [encode(current)] if is_doubted else []
        news = self._dissemination.take_news(room - sum(map(len, units)))
        return list(dict.fromkeys([*units, *news]))

    def send_members(self, to: Address, members: Iterable[Member]) -> None:
        """Records of members, reliably."""
        for some in chunks([encode(member) for member in members], MEMBERS_A_FRAME):
            self.send_units(some, to, reliable=True)
