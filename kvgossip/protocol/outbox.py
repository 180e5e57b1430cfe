"""Link: how the mechanisms of a pool hand over what they have to say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from kvgossip.config import Address
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.wire.message import Message


class Link(Protocol):
    """The outgoing side of a pool. A reliable message is a frame of a TCP link, any other one a
    datagram."""

    @property
    def datagram_room(self) -> int:
        """How many bytes of units fit into a datagram."""

    def send(self, told: Message, to: Address, *, reliable: bool = False) -> None:
        """One message; a datagram is filled up with membership news."""

    def send_units(self, units: list[bytes], to: Address, *, reliable: bool = False) -> None:
        """Encoded units as they are."""

    def send_members(self, to: Address, members: Iterable[Member]) -> None:
        """Records of members, reliably."""

    def news_for(self, peer: Member, room: int) -> list[bytes]:
        """Membership news for this peer that fits into `room` bytes: what we believe of itself
        first, if that is not alive."""
