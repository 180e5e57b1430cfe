"""Peer selection: uniform, and shuffled round robin (SWIM section 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from kvgossip.protocol.model.ordered_set import OrderedSet

T = TypeVar("T")


def uniform(rng: Random, candidates: Sequence[T], count: int) -> list[T]:
    """`count` different candidates, or all of them in random order if there are fewer."""
    return rng.sample(candidates, min(count, len(candidates))) if candidates else []


class RoundRobin:
    """Every name once a round, in an order that is new each round; a new name enters at a random
    place.

    So the time until a given member is probed is bounded by two rounds, and its expectation is one
    period's. Names that are hastened come before their turn, but never two in a row: so a peer
    that makes us hasten it can make the others wait twice as long at most.
    """

    __slots__ = ("_at", "_hastened", "_known", "_names", "_rng", "was_hastened")

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        #: in the order of this round, and the place of the next one
        self._names: list[str] = []
        self._at = 0
        #: the same names: most that are discarded are none of them, and the list is long
        self._known: OrderedSet[str] = OrderedSet()
        #: the names that come before their turn
        self._hastened: OrderedSet[str] = OrderedSet()
        #: the last name came before its turn
        self.was_hastened = False

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def add(self, name: str) -> None:
        self._known.add(name)
        place = self._rng.randint(0, len(self._names))
        self._names.insert(place, name)
        if place < self._at:
            self._at += 1

    def hasten(self, name: str) -> None:
        """Let this name come once before its turn."""
        self._hastened.add(name)

    def discard(self, name: str) -> None:
        self._hastened.discard(name)
        if name in self._known:
            del self._known[name]
            place = self._names.index(name)
            del self._names[place]
            if place < self._at:
                self._at -= 1

    def next(self, wanted: Callable[[str], bool]) -> str | None:
        """The next name that is wanted; None if there is none. `was_hastened`: it came before its
        turn."""
        hasty = None if self.was_hastened else next(filter(wanted, self._hastened), None)
        self.was_hastened = hasty is not None
        if hasty is not None:
            del self._hastened[hasty]
            return hasty
        # twice: a name that came just before the shuffle may come last after it
        for _ in range(2 * len(self._names)):
            if self._at >= len(self._names):
                self._rng.shuffle(self._names)
                self._at = 0
            name = self._names[self._at]
            self._at += 1
            if wanted(name):
                return name
        return None
