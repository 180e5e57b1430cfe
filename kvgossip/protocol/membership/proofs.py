"""Proofs: the members that have answered a probe of this node, and where.

Law: **a member is proven at an address once it has answered a random number that went there.**
Whoever says a name, or sends from a false address, does not know that number. What hangs on it: who
gets more bytes than it has sent (pool_outbox.py), who keeps its address (claims.py), and who keeps
its place in the table (member_table.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kvgossip.config import Address
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.ordered_set import OrderedSet

CROWD_MIN = 64


class Proofs:
    """`members`: those of the table, by name."""

    __slots__ = ("_at", "_lacking", "_members")

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members = members
        #: the name that has answered at an address
        self._at: dict[Address, str] = {}
        #: the names that never did
        self._lacking: OrderedSet[str] = OrderedSet()

    def has(self, address: Address) -> bool:
        """True if a member has answered there."""
        return address in self._at

    def is_at(self, name: str, address: Address) -> bool:
        """True if this name has answered there last."""
        return self._at.get(address) == name

    def at(self, address: Address) -> Member | None:
        """The member that has answered there last."""
        return self._members.get(self._at.get(address, ""))

    def proves(self, record: Member) -> bool:
        """True if it has answered where it is, and is reachable."""
        return record.reachable and self.at(record.address) is record

    @property
    def lacking(self) -> Iterable[str]:
        """The names that have never answered, in the order in which they came."""
        return self._lacking

    @property
    def is_crowded(self) -> bool:
        """True if most names, and more than a few, have never answered: this node is new in a large
        cluster, or somebody invents names. See claims.py."""
        lacking = len(self._lacking)
        return lacking > CROWD_MIN and lacking > len(self._members) // 2

    @property
    def is_crowding(self) -> bool:
        """True if this may soon be so."""
        return len(self._lacking) > CROWD_MIN // 4

    def counts(self, name: str) -> bool:
        """True unless this is one of a crowd of names that have never answered."""
        return name not in self._lacking or not self.is_crowded

    def lacks(self, name: str) -> bool:
        """True if it has never answered."""
        return name in self._lacking

    # -- changes ----------------------------------------------------------------------------------

    def met(self, record: Member) -> None:
        """A new name has come into the table."""
        if self._at.get(record.address) != record.name:
            self._lacking.add(record.name)

    def add(self, record: Member, address: Address) -> None:
        """The one of this name has answered there."""
        if record.address == address:
            self._at[address] = record.name
            self._lacking.discard(record.name)

    def drop(self, address: Address) -> None:
        """Whoever has answered there is no member."""
        self._at.pop(address, None)

    def left(self, member: Member) -> None:
        """It lives there no longer."""
        if self._at.get(member.address) == member.name:
            del self._at[member.address]

    def forget(self, member: Member) -> None:
        """It is no longer in the table."""
        self._lacking.discard(member.name)
