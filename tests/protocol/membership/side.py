"""Side: a Membership without a socket, beside what it has sent."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from kvgossip.config import Address, Config
from kvgossip.protocol.membership.dissemination import Dissemination
from kvgossip.protocol.membership.member_table import MemberTable
from kvgossip.protocol.membership.signed_records import SignedRecords
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.message import Ack, Message, Ping, PingRequest
from tests.protocol.net import WALL_MS, address_of, at, member

ALIVE, SUSPECT, DEAD, LEFT = MemberState


class Sent(NamedTuple):
    message: Message | Member
    to: Address
    reliable: bool


class Side:
    """The membership of the node `me`, beside what it has sent. `tick(s)` lets it be s seconds
    after the start."""

    def __init__(self, *others: str, **config: Any) -> None:
        self.sent: list[Sent] = []
        self.now = at()
        me = member("me", 0, generation=WALL_MS, site=77)
        self.membership = self.of(me, **config)
        for place, name in enumerate(others, 1):
            self.merge(member(name, place))

    def of(self, me: Member, **config: Any) -> Membership:
        settings, table = Config(name="me", **config), MemberTable(me, is_blocked=lambda _: False)
        return Membership(
            settings,
            table,
            Dissemination(settings, table.members),
            rng=Random(3),
            send=self._send,
            make_ping=self._ping,
            signed_records=SignedRecords("default", "lan:dc1", None),
            now=self.now,
        )

    def _send(
        self,
        message: Message | Member,
        to: Address,
        member: Member | None,
        *,
        reliable: bool = False,
    ) -> None:
        self.sent.append(Sent(message, to, reliable))

    def _ping(self, sequence: int, target: str, now: Now) -> Ping:
        return Ping(sequence, "me", target, 0, 0, SyncState.SETTLED)

    def merge(self, heard: Member) -> None:
        self.membership.merge(heard, self.now)

    def tick(self, seconds: float) -> list[Sent]:
        """The messages that a tick sends at this time."""
        self.now = at(seconds)
        before = len(self.sent)
        self.membership.tick(self.now)
        return self.sent[before:]

    def to_deadline(self) -> list[Sent]:
        return self.tick(self.membership.deadline() - at().monotonic_s)

    def ask(self, asked: PingRequest, source: Address) -> list[Sent]:
        before = len(self.sent)
        self.membership.probing.on_ping_request(asked, Arrival(source, self.now, False))
        return self.sent[before:]

    def prove(self, name: str) -> None:
        """This member has answered a probe."""
        known = self.membership.members[name]
        self.membership.table.prove(known, known.address)

    def state(self, name: str) -> MemberState | None:
        known = self.membership.members.get(name)
        return None if known is None else known.state

    def news(self, room: int = 100_000) -> list[bytes]:
        return list(self.membership.dissemination.take_news(room))

    def probe(self) -> Ping:
        """The ping of the next period."""
        while True:
            pings = [
                sent.message
                for sent in self.to_deadline()
                if isinstance(sent.message, Ping) and not sent.reliable
            ]
            if pings:
                return pings[0]

    def ack(self, ping: Ping, sender: str = "", life: int = 0) -> None:
        ack = Ack(ping.sequence, sender or ping.target, 0, 0, SyncState.SETTLED, life)
        self.membership.probing.on_ack(ack, self.arrival)

    def answer(self, sequence: int, sender: str, life: int = 0) -> None:
        """An ack of a claim."""
        ack = Ack(sequence, sender, 0, 0, SyncState.SETTLED, life)
        record = self.membership.claims.answered(ack)
        if record is not None:
            self.membership.prove(record, self.now)

    def claims(self, heard: Member) -> None:
        """News of who is at an address where another name is: it answers there."""
        before = len(self.sent)
        self.merge(heard)
        pings = [sent.message for sent in self.sent[before:] if isinstance(sent.message, Ping)]
        self.answer(pings[0].sequence, heard.name)

    @property
    def arrival(self) -> Arrival:
        """A datagram that comes now."""
        return Arrival(address_of(1), self.now, False)


def record_of(side: Side, name: str) -> Member:
    return side.membership.members[name]


def drain(side: Side) -> None:
    """Let it have no news to spread."""
    while side.membership.dissemination.has_news:
        side.news()
