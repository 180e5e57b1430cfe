"""GatewayWord: the word of a gateway on behalf of those behind it: to a gateway for the plain
members of its datacenter, to a plain member for all other gateways."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kvgossip.protocol.model.member import Member

PENDING_MAX = 8


class Vouching:
    """The word of a gateway on behalf of those behind it: its version vector as it was when they
    had all that it stands for.

    Snapshots (my clock, my vector) wait until all behind have confirmed that clock. The oldest one
    waits on while newer ones replace each other, so that there is always one that will be
    confirmed.
    """

    __slots__ = ("_pending", "vector")

    def __init__(self) -> None:
        #: by site, of the members that count
        self.vector: Mapping[int, int] = {}
        self._pending: list[tuple[int, Mapping[int, int]]] = []

    @property
    def is_waiting(self) -> bool:
        """True if any snapshot waits to be confirmed."""
        return bool(self._pending)

    def note(self, clock: int, vector: Mapping[int, int]) -> None:
        """The vector has advanced."""
        if len(self._pending) >= PENDING_MAX:
            self._pending.pop()
        self._pending.append((clock, vector))

    def confirm(self, confirmed: int) -> None:
        while self._pending and self._pending[0][0] <= confirmed:
            self.vector = self._pending.pop(0)[1]


class GatewayWord:
    """`confirmed(gateways)`: the time up to which all members behind that count hold everything:
    the gateways, or the plain ones; None while that is not known."""

    def __init__(self, confirmed: Callable[[bool], int | None]) -> None:
        self._confirmed = confirmed
        self.begin_life()

    def begin_life(self) -> None:
        """Nothing that was said in the life before counts."""
        self._for_gateways, self._for_plain = Vouching(), Vouching()

    def note(self, clock: int, vector: Mapping[int, int]) -> None:
        self._for_gateways.note(clock, vector)
        self._for_plain.note(clock, vector)

    def held_for(self, member: Member) -> int:
        """The time, of this member's clock, up to which all that lies behind holds what had reached
        it."""
        vouching = self._for_gateways if member.gateway else self._for_plain
        if vouching.is_waiting:
            confirmed = self._confirmed(not member.gateway)
            if confirmed is not None:
                vouching.confirm(confirmed)
        return vouching.vector.get(member.site, 0)
