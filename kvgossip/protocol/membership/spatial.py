"""Spatial selection: near peers are chosen more often than far ones (Demers et al. 1987, section 3;
Kempe, Kleinberg, Demers 2001).

    uniform     every peer alike
    distance    probability ~ d^-a
    rank        peers sorted by distance, the i-th nearest with probability ~ i^-a. Peers at the
                same distance share alike, so that their order says nothing (section 3.1), where
                Q(d) counts the peers within d and d' is the next smaller distance:

                    p(d) = (sum of i^-a for i = Q(d') + 1 .. Q(d)) / (Q(d) - Q(d'))

On a line Q(d) = 2d, so both are ~ d^-a there; on a D-dimensional mesh Q(d) ~ d^D, and `rank` finds
D by itself: it needs no geometry, only an order. Traffic on a link of a line with n sites is O(n)
for a < 1, n/log n for a = 1, n^(2-a) for 1 < a < 2, log n for a = 2 and O(1) for a > 2; the time
until all know turns from polylogarithmic to polynomial at a = 2. So a = 2 is the default.

Deviations, with reasons
- The paper approximates the sum of `rank` by an integral; adding up costs as little as sorting, and
  is exact for every a.
- A share of choices is uniform, so that peers whose weight is next to nothing are met all the same
  (section 3.2: two sites alone on one local net send a rumor to each other until both lose
  interest). It has its price: a share u of uniform choices puts u times the uniform traffic, which
  is O(n), on every far link again. Keep it small where links are scarce.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from heapq import nsmallest
from itertools import accumulate, groupby
from random import Random
from typing import Generic, TypeVar

from kvgossip.errors import ConfigError
from kvgossip.protocol.model.ordered_set import OrderedSet

T = TypeVar("T")

EXPONENT_MAX = 16.0


class Selection(Enum):
    UNIFORM = "uniform"
    DISTANCE = "distance"
    RANK = "rank"


@dataclass(frozen=True, slots=True)
class SpatialPolicy:
    """The selection of peers. `exponent` is the paper's a, 0 to 16; `uniform_share` 0 to 1. Raises
    ConfigError out of these bounds."""

    selection: Selection = Selection.RANK
    exponent: float = 2.0
    uniform_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.exponent <= EXPONENT_MAX:
            raise ConfigError(
                f"the spatial exponent {self.exponent} is out of bounds",
                f"choose 0 (uniform) to {EXPONENT_MAX:g}; 2 suits a line",
            )
        if not 0 <= self.uniform_share <= 1:
            raise ConfigError(
                f"the uniform share {self.uniform_share} is out of bounds",
                "choose 0 (never uniform) to 1 (always)",
            )

    def weights(self, distances: Sequence[float]) -> list[float]:
        """One weight for each peer, with these distances in ascending order, without the uniform
        share. Greater is likelier; 0 is never."""
        if self.selection is Selection.DISTANCE:
            return _distance_weights(distances, self.exponent)
        if self.selection is Selection.RANK:
            return _rank_weights(distances, self.exponent)
        return [1.0] * len(distances)


def _distance_weights(distances: Sequence[float], exponent: float) -> list[float]:
    # In units of the nearest peer's distance, so that no power overflows; a peer at our very place
    # is taken for as near as the nearest.
    unit = next((distance for distance in distances if 0 < distance < math.inf), 1.0)
    return [(max(distance, unit) / unit) ** -exponent for distance in distances]


def _rank_weights(distances: Sequence[float], exponent: float) -> list[float]:
    weights: list[float] = []
    for _, group in groupby(distances):
        within = len(weights)
        size = sum(1 for _ in group)
        average = math.fsum(rank**-exponent for rank in range(within + 1, within + size + 1)) / size
        weights += [average] * size
    return weights


class SpatialPeers(Generic[T]):
    """The peers of one site, ready to be chosen from.

    Preparing n peers costs O(n log n) and happens only when they have changed; a choice costs O(log
    n). Every choice is made with the generator that is passed in, and peers at the same distance
    keep the order in which they were given: one seed, one sequence.
    """

    __slots__ = ("_cumulative", "_given", "_peers", "_policy")

    def __init__(self, policy: SpatialPolicy, peers: Iterable[tuple[T, float]] = ()) -> None:
        self._policy = policy
        #: as passed in
        self._given: list[tuple[T, float]] = []
        #: nearest first
        self._peers: list[T] = []
        #: the probabilities of the peers, added up
        self._cumulative: list[float] = []
        self.refresh(peers)

    def __len__(self) -> int:
        return len(self._peers)

    def refresh(self, peers: Iterable[tuple[T, float]]) -> None:
        """Take (peer, distance) pairs, each peer once, instead of those before. Raises ValueError
        for a negative distance or NaN.

        An infinite distance is allowed: `distance` chooses such a peer only by the uniform share,
        `rank` puts it last.
        """
        given = list(peers)
        if given == self._given:
            return
        if not all(distance >= 0 for _, distance in given):
            raise ValueError("a distance is negative or not a number")
        ordered = sorted(given, key=lambda pair: pair[1])
        self._cumulative = list(accumulate(self._mixed([distance for _, distance in ordered])))
        self._peers = [peer for peer, _ in ordered]
        self._given = given

    def _mixed(self, distances: Sequence[float]) -> list[float]:
        """The probability of each peer: the policy's weights with the uniform share mixed in, one
        table for both."""
        weights = self._policy.weights(distances)
        total = math.fsum(weights)
        # All weights are 0 only if every peer is infinitely far: then none is nearer than another.
        share = self._policy.uniform_share if total else 1.0
        return [share / len(weights) + (1 - share) * weight / (total or 1.0) for weight in weights]

    def probabilities(self) -> list[tuple[T, float]]:
        """Each peer, nearest first, with the probability that one choice falls on it."""
        total = self._cumulative[-1] if self._cumulative else 1.0
        below = [0.0, *self._cumulative]
        return [
            (peer, (below[place + 1] - below[place]) / total)
            for place, peer in enumerate(self._peers)
        ]

    def one(self, rng: Random) -> T:
        """One peer. Raises IndexError if there are none."""
        return self._peers[self._draw(rng)]

    def choose(self, rng: Random, count: int) -> list[T]:
        """`count` different peers, each drawn from those not drawn yet; or all of them in random
        order if there are fewer."""
        if count >= len(self._peers):
            return rng.sample(self._peers, len(self._peers))
        chosen: OrderedSet[int] = OrderedSet()
        for _ in range(4 * count):
            if len(chosen) < count:
                chosen.add(self._draw(rng))
        if len(chosen) < count:
            self._complete(rng, chosen, count)
        return [self._peers[place] for place in chosen]

    def _draw(self, rng: Random) -> int:
        return bisect_right(
            self._cumulative, rng.random() * self._cumulative[-1], 0, len(self._cumulative) - 1
        )

    def _complete(self, rng: Random, chosen: OrderedSet[int], count: int) -> None:
        """The result of drawing again and again, in one pass: the first `count` of exponential
        clocks, each as fast as its weight."""
        weights = [weight for _, weight in self.probabilities()]
        rest = [place for place in range(len(weights)) if place not in chosen]
        clocks = [
            (rng.expovariate(1.0) / weights[place] if weights[place] else math.inf, place)
            for place in rest
        ]
        chosen.update(OrderedSet(place for _, place in nsmallest(count - len(chosen), clocks)))
