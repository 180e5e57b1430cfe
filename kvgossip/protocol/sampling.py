"""Peer selection: uniform, and shuffled round robin (SWIM section 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def uniform(rng: Random, candidates: Sequence[T], count: int) -> list[T]:
    """`count` different candidates, or all of them in random order if there are fewer."""
    return rng.sample(candidates, min(count, len(candidates)))


class RoundRobin:
    """Every name once a round, in an order that is new each round; a new name enters at a random place.

    So the time until a given member is probed is bounded by two rounds, and its expectation is one period's.
    """

    __slots__ = ("_at", "_names", "_rng")

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._names: list[str] = []
        self._at = 0

    def add(self, name: str) -> None:
        place = self._rng.randint(0, len(self._names))
        self._names.insert(place, name)
        if place < self._at:
            self._at += 1

    def discard(self, name: str) -> None:
        if name in self._names:
            place = self._names.index(name)
            del self._names[place]
            if place < self._at:
                self._at -= 1

    def next(self, wanted: Callable[[str], bool]) -> str | None:
        """The next name that is wanted; None if there is none."""
        for _ in range(2 * len(self._names)):  # whoever came just before the shuffle may come last after it
            if self._at >= len(self._names):
                self._rng.shuffle(self._names)
                self._at = 0
            name = self._names[self._at]
            self._at += 1
            if wanted(name):
                return name
        return None
