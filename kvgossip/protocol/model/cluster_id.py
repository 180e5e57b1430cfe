"""ClusterId: the cluster that a node belongs to, beyond its name: the guard of clusters that nobody
has named, or that were named alike.

A cluster id is a value that only grows, so that it may be told in any order and to anybody:

- `number`, 32 random bits, is what is shown, and what every frame carries in clear.
- `seed`, 64 random bits, is drawn with the number, goes wherever it goes, and is a secret of the
  members: the positions of keys follow from it (store/digest.py), so that no client can aim keys at
  one bucket. It travels in joins alone, and lies in the data directory; nothing that is shown - a
  status, a log, a refusal, a header - follows from it.
- `former` are the other numbers under which nodes of this cluster have settled. A node that was
  down while two clusters became one comes back with one of them, and is known by it.
- `met` are candidates: numbers of nodes that this one has met while none of them had settled.
- `epoch` 0: the number is a candidate, too; 1: it was minted, since somebody has settled under it;
  each merge of two clusters raises it.

Laws
- Two ids are of one cluster if some have settled under one number in both, or those of the one have
  settled under a number that the other one has met as a candidate: they began together. That both
  have met one and the same candidate is not enough: its node may have gone to either.
- Of one cluster the union holds: the number of the later epoch, and all others as former ones. It
  is commutative, associative and idempotent, but for the bounds, the order of the former ones, and
  `met`, which is each node's own.
- Whatever others say, a node keeps the numbers that it has known for longest, and the epoch stays
  one that can be told: by an id that is full of invented numbers, or at the end of the epochs,
  nobody is parted from those whom he has met before.
- While nothing is minted, all nodes of one cluster name place keys alike, by the name, so that
  those who meet before anybody has settled can compare what they have. Once an id is minted, its
  seed holds; ids that are equal have equal seeds.

Why the seed is not the number, or made of it: the number stands in every header, in refusals and in
logs, where operators compare it. A secret needs a value of its own, which none of that has.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kvgossip.protocol.model.member import Count

NUMBERS_MAX = 64
EPOCH_MAX = 2**31
NUMBER_BITS = 32
SEED_BITS = 64
Number = Annotated[int, Meta(ge=0, le=2**NUMBER_BITS - 1)]


class ClusterId(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`former` and `met` are in the order in which they became known, the oldest first, and do not
    hold `number`, which is 0 where nothing is known."""

    epoch: Annotated[int, Meta(ge=0, le=EPOCH_MAX)]
    number: Number
    former: Annotated[tuple[Number, ...], Meta(max_length=NUMBERS_MAX)] = ()
    met: Annotated[tuple[Number, ...], Meta(max_length=NUMBERS_MAX)] = ()
    seed: Count = 0

    @property
    def minted(self) -> bool:
        """True if somebody has settled under it; else it is a candidate."""
        return self.epoch > 0

    @property
    def settled(self) -> tuple[int, ...]:
        """The numbers under which somebody has settled."""
        return (*self.former, self.number) if self.minted else ()

    @property
    def candidates(self) -> tuple[int, ...]:
        """Those that were met before anybody had settled."""
        return self.met if self.minted else (*self.met, self.number)

    @property
    def digest(self) -> int:
        """A fingerprint of what a cluster has in common: equal values have equal ones. Never 0."""
        return (self.epoch + sum(self.settled)) % 0xFFFFFFFF + 1

    def meets(self, other: ClusterId) -> bool:
        """True if both are of one cluster."""
        theirs = (*other.settled, *other.candidates)
        return any(number in theirs for number in self.settled) or any(
            number in self.candidates for number in other.settled
        )

    def __str__(self) -> str:
        return f"{self.number:08x}"


UNKNOWN = ClusterId(0, 0)


def united(ours: ClusterId, theirs: ClusterId) -> ClusterId:
    """Our id, of the one cluster that both are of; or of none yet, where neither was minted."""
    first = max(ours, theirs, key=lambda each: (each.epoch, each.number, each.seed))
    candidates = ours.candidates if first.minted else (*ours.candidates, *theirs.candidates)
    return _with(first, first.epoch, (*ours.settled, *theirs.settled), candidates)


def minted(candidate: ClusterId) -> ClusterId:
    """Somebody settles under this candidate."""
    return _with(candidate, 1, (), candidate.met)


def taken_over(kept: ClusterId, given_up: ClusterId) -> ClusterId:
    """The id of two clusters that an operator makes one: number and seed of the first one stay."""
    epoch = min(max(kept.epoch, given_up.epoch) + 1, EPOCH_MAX)
    return _with(kept, epoch, (*kept.settled, *given_up.settled), kept.met)


def _with(
    first: ClusterId, epoch: int, settled: tuple[int, ...], candidates: tuple[int, ...]
) -> ClusterId:
    number = first.number
    others = _others(settled, number), _others(candidates, number)
    return ClusterId(epoch, number, *others, seed=first.seed)


def _others(numbers: tuple[int, ...], number: int) -> tuple[int, ...]:
    others = dict.fromkeys(other for other in numbers if other and other != number)
    return tuple(others)[:NUMBERS_MAX]
