"""Outbox: the one way out of the machine; and the port by which mechanisms of a pool send messages.

Every effect of an input is put into the outbox of its replica, in order, and drained at the end of
the input. Nothing else leaves the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from kvgossip.config import Address
from kvgossip.protocol.effect import Dropped, Effect, Log, Rewritten, Send
from kvgossip.protocol.model.change import Changed, Persist
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.message import Message

_KEPT = frozenset((Changed, Rewritten, Dropped, Persist))


class Outbox:
    """The effects of the input that is being worked on."""

    __slots__ = ("_effects", "changed")

    def __init__(self) -> None:
        self._effects: list[Effect] = []
        #: `changed(changed)`: a merge was news. Bound, for every write and every rumor says so
        self.changed: Callable[[Changed], None] = self._effects.append

    def send(
        self, to: Address, data: bytes, *, reliable: bool, pool: PoolKind, fresh: bool = False
    ) -> None:
        """One datagram, or, when `reliable`, one frame over the TCP link with that address; see
        Send."""
        self._effects.append(Send(to, data, reliable, pool, fresh))

    def persist(self, facts: Iterable[Persist]) -> None:
        """Facts about this replica to keep on the disk."""
        self._effects.extend(facts)

    def log(self, level: str, text: str) -> None:
        """Something an operator should read; the caller limits the rate."""
        self._effects.append(Log(level, text))

    def emit(self, *effects: Effect) -> None:
        """Any other effects."""
        self._effects.extend(effects)

    def writes_to_disk(self) -> bool:
        """True if an effect by now makes a driver with a disk commit."""
        return not _KEPT.isdisjoint(map(type, self._effects))

    def drain(self) -> list[Effect]:
        """All effects, oldest first; the outbox is empty afterwards."""
        effects = self._effects[:]
        self._effects.clear()
        return effects


class SendPort(Protocol):
    """The port by which mechanisms of one pool send. A reliable message is a frame of a TCP link,
    any other one a datagram."""

    @property
    def datagram_room(self) -> int:
        """How many bytes of units fit into a datagram."""

    def room_for(self, to: Address) -> int:
        """How many bytes of units a datagram to this address may have now: fewer, where it answers
        a stranger."""

    def send(
        self, message: Message, to: Address, *, reliable: bool = False, fresh: bool = False
    ) -> None:
        """One message; a datagram is filled up with membership news. `fresh`: see Send."""

    def send_units(
        self,
        units: list[bytes],
        to: Address,
        *,
        reliable: bool = False,
        joining: bool = False,
        fresh: bool = False,
    ) -> None:
        """Encoded units as they are. `joining`: of a join, for a node of any cluster id."""

    def send_members(self, to: Address, members: Iterable[Member]) -> None:
        """Records of members, reliably."""

    def news_for(self, peer: Member, room: int) -> list[bytes]:
        """Membership news for this peer that fits into `room` bytes: first what this node believes
        of the peer itself, where that is not alive."""
