"""ClusterId: the cluster that a node belongs to, beyond its name: the guard of clusters that nobody
has named, or that were named alike.

A cluster id is a value that only grows, so that it may be told in any order and to anybody:

- `number`, 32 random bits, is what is shown, and what every frame carries.
- `former` are the numbers by which the same cluster was known before. A node that was down while
  two clusters became one comes back with one of them, and is known by it.
- `epoch` 0: a candidate of a node that has met no cluster yet; 1: minted at a founding; each merge
  of two clusters raises it.

Laws
- Two ids are of one cluster if they have a number in common. Then the union holds: the number of
  the later epoch, and all others as former ones. Union is commutative, associative and idempotent,
  but for the bound of `former`.
- Nodes that meet before any of them has settled keep each other's candidates, so whichever of these
  numbers two of them settle under, they stay one cluster.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

FORMER_MAX = 64
NUMBER_BITS = 32
Number = Annotated[int, Meta(ge=0, lt=2**NUMBER_BITS)]


class ClusterId(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`former` is sorted, the greatest first, and does not hold `number`, which is 0 where nothing
    is known."""

    epoch: Annotated[int, Meta(ge=0, le=2**31)]
    number: Number
    former: Annotated[tuple[Number, ...], Meta(max_length=FORMER_MAX)] = ()

    @property
    def minted(self) -> bool:
        """True if somebody has settled under it; else it is a candidate."""
        return self.epoch > 0

    @property
    def numbers(self) -> tuple[int, ...]:
        return (self.number, *self.former)

    @property
    def digest(self) -> int:
        """A fingerprint of the whole value: equal values have equal ones. Never 0."""
        total: int = self.epoch + sum(self.numbers)
        return total % ((1 << NUMBER_BITS) - 1) + 1

    def meets(self, other: ClusterId) -> bool:
        """True if both are of one cluster."""
        return any(number in other.numbers for number in self.numbers)

    def __str__(self) -> str:
        return f"{self.number:08x}"


UNKNOWN = ClusterId(0, 0)


def united(one: ClusterId, other: ClusterId) -> ClusterId:
    """The id of the one cluster that both are of."""
    first = max(one, other, key=lambda each: (each.epoch, each.number))
    return _with(first.epoch, first.number, (*one.numbers, *other.numbers))


def minted(candidate: ClusterId) -> ClusterId:
    """Somebody settles under this candidate."""
    return _with(max(1, candidate.epoch), candidate.number, candidate.former)


def taken_over(kept: ClusterId, given_up: ClusterId) -> ClusterId:
    """The id of two clusters that an operator makes one: the number of the first one stays."""
    epoch = max(kept.epoch, given_up.epoch) + 1
    return _with(epoch, kept.number, (*kept.numbers, *given_up.numbers))


def _with(epoch: int, number: int, numbers: tuple[int, ...]) -> ClusterId:
    others = dict.fromkeys(other for other in numbers if other and other != number)
    former = sorted(others, reverse=True)[:FORMER_MAX]
    return ClusterId(epoch, number, tuple(former))
