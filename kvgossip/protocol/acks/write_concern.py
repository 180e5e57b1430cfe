"""WriteConcern: how many members, and which, shall hold a version before a write that waits is
answered.

    N               N members, this node among them
    majority        more than half of the members that have not left: a minority that is cut off can
                    never meet it
    all             all members that are alive, or suspect, when the wait begins; a member that
                    leaves meanwhile is not waited for, one that dies is
    zone:N          N members of each zone of this datacenter, or all of a smaller one; without
                    zones that is one zone
    other-zone:N    N members of this datacenter in other zones than this node's

A node can wait for those that it knows: the members of its datacenter, and on a gateway also
those of the WAN pool. So `all` is never all members of all datacenters.

Before a node has settled it knows too few: then all count that it has ever heard of, and none but
`1` is met (tracker.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from kvgossip.errors import CannotMeetError, LocalError
from kvgossip.protocol.model.peer import Peer, PoolKind

NUMBER_MAX = 100_000
HINT = "write wait=2 (a number), majority, all, zone:1 or other-zone:1"


class Scope(StrEnum):
    ANY = "any"
    MAJORITY = "majority"
    ALL = "all"
    EACH_ZONE = "zone"
    OTHER_ZONE = "other-zone"


class WriteConcern(NamedTuple):
    """How many members of which scope; `number` means nothing to MAJORITY and ALL."""

    scope: Scope
    number: int = 1

    def __str__(self) -> str:
        if self.scope is Scope.ANY:
            return str(self.number)
        return (
            self.scope.value
            if self.scope in (Scope.MAJORITY, Scope.ALL)
            else f"{self.scope.value}:{self.number}"
        )

    @property
    def is_of_one(self) -> bool:
        """True if the node that writes is enough."""
        return self.scope is Scope.ANY and self.number == 1


class Candidate(NamedTuple):
    """A member that could hold the version: `alive` or suspect, or else dead."""

    peer: Peer
    zone: str
    alive: bool


class Group(NamedTuple):
    """The members of which so many, `needed`, shall hold the version."""

    members: tuple[Peer, ...]
    needed: int


def parse_write_concern(text: str) -> WriteConcern:
    """Raises LocalError, whose hint says what to write instead."""
    if text in (Scope.MAJORITY, Scope.ALL):
        return WriteConcern(Scope(text))
    scope, _, digits = text.rpartition(":")
    if (
        scope in ("", Scope.EACH_ZONE, Scope.OTHER_ZONE)
        and not text.startswith(":")
        and _is_number(digits)
    ):
        return WriteConcern(Scope(scope or Scope.ANY), int(digits))
    raise LocalError(f"wait = {text!r} is no write concern", HINT)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 7 and 1 <= int(text) <= NUMBER_MAX


def groups_of(
    write_concern: WriteConcern, me: Candidate, others: Sequence[Candidate]
) -> list[Group]:
    """The members that are waited for. Raises CannotMeetError where there are not so many members
    alive."""
    everybody = [me, *others]
    alive = [candidate for candidate in everybody if candidate.alive]
    near = [candidate for candidate in alive if candidate.peer.pool is PoolKind.LAN]
    if write_concern.scope is Scope.MAJORITY:
        return [Group(_peers(everybody), len(everybody) // 2 + 1)]
    if write_concern.scope is Scope.ALL:
        return [Group(_peers(alive), len(alive))]
    if write_concern.scope is Scope.EACH_ZONE:
        zones = {
            zone: [candidate for candidate in near if candidate.zone == zone]
            for zone in sorted({each.zone for each in near})
        }
        return [
            Group(_peers(members), min(write_concern.number, len(members)))
            for members in zones.values()
        ]
    wanted = (
        alive
        if write_concern.scope is Scope.ANY
        else [candidate for candidate in near if candidate.zone != me.zone]
    )
    if write_concern.number > len(wanted):
        raise CannotMeetError(
            f"wait={write_concern} cannot be met: {len(wanted)} such members are alive",
            "nothing was changed; wait for fewer, or start more nodes",
        )
    return [Group(_peers(wanted), write_concern.number)]


def _peers(candidates: Iterable[Candidate]) -> tuple[Peer, ...]:
    return tuple(candidate.peer for candidate in candidates)
