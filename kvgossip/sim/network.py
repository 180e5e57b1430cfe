"""The network: the fate of each packet. It carries bytes, as the real one does, so every message is
encoded and decoded.

    datagram   may be lost, late, twice or out of order, and is lost where a cut is
    frame      of a link: in order and once (see delivery.py for how links begin and break); losses
               only cost it time

Cuts are directed, so that an asymmetric partition is half of a symmetric one. Between datacenters
every way is longer, and may lose more; single ways can be made bad, and lose more than others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from kvgossip.sim.layout import NEAR, Far, Layout

RETRANSMISSION_S = 0.2
"""The cost of one lost segment for a link: the shortest retransmission timeout of Linux."""
RETRANSMISSIONS_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """The treatment of packets."""

    #: Probability that a packet is lost, and that it arrives twice.
    loss: float = 0.0
    duplicate: float = 0.0
    #: Probability that a packet is up to so much later than others, which reorders datagrams.
    tail: float = 0.005
    tail_s: float = 0.02
    #: The delay of the others, uniform between these.
    delay_min_s: float = 0.0001
    delay_max_s: float = 0.002


class Network:
    """Decides by `rng` alone; nodes are numbers. `weather` may be replaced at any time."""

    __slots__ = ("_bad", "_cuts", "_layout", "_rng", "duplicated", "lost", "weather")

    def __init__(self, rng: Random, weather: Weather, layout: Layout | None = None) -> None:
        self._rng, self._layout = (
            rng,
            layout if layout is not None and layout.datacenters > 1 else None,
        )
        self._cuts: dict[tuple[int, int], int] = {}
        #: the directed ways that lose more than the weather, and how much more
        self._bad: dict[tuple[int, int], float] = {}
        self.weather = weather
        self.lost = self.duplicated = 0

    def cut(self, ways: Iterable[tuple[int, int]]) -> None:
        """Cut these directed ways. Cuts add up: a way is open again when each of its cuts is
        mended."""
        for way in ways:
            self._cuts[way] = self._cuts.get(way, 0) + 1

    def mend(self, ways: Iterable[tuple[int, int]]) -> None:
        for way in ways:
            left = self._cuts.pop(way, 0) - 1
            if left > 0:
                self._cuts[way] = left

    def mend_all(self) -> None:
        self._cuts.clear()

    def worsen(self, ways: Iterable[tuple[int, int]], loss: float) -> None:
        """From now on these directed ways lose this share of their packets besides."""
        self._bad.update((way, loss) for way in ways)

    def is_cut(self, source: int, target: int) -> bool:
        return (source, target) in self._cuts

    def datagram(self, source: int, target: int) -> list[float]:
        """The delays after which copies of a datagram arrive: none if it is lost, two if it is
        duplicated."""
        weather, draw, far = self.weather, self._rng.random, self._between(source, target)
        if (source, target) in self._cuts or draw() < self._loss(source, target, far):
            self.lost += 1
            return []
        if draw() < weather.duplicate:
            self.duplicated += 1
            return [self.delay_s(far), self.delay_s(far)]
        return [self.delay_s(far)]

    def frame_s(self, source: int, target: int) -> float:
        """How long a frame is on its way, with the retransmissions of lost packets."""
        far = self._between(source, target)
        delay_s, loss, draw = self.delay_s(far), self._loss(source, target, far), self._rng.random
        for _ in range(RETRANSMISSIONS_MAX):
            if draw() >= loss:
                break
            delay_s += RETRANSMISSION_S
        return delay_s

    def timeout_s(self) -> float:
        """How long a sender waits on a cut way until its link breaks."""
        return 0.5 + 2.5 * self._rng.random()

    def heads(self) -> bool:
        """A fair coin."""
        return self._rng.random() < 0.5

    def delay_s(self, far: Far = NEAR) -> float:
        """One way, once."""
        weather, draw = self.weather, self._rng.random
        delay_s = (
            far.delay_s + weather.delay_min_s + (weather.delay_max_s - weather.delay_min_s) * draw()
        )
        return delay_s + weather.tail_s * draw() if draw() < weather.tail else delay_s

    def _loss(self, source: int, target: int, far: Far) -> float:
        return self.weather.loss + far.loss + self._bad.get((source, target), 0.0)

    def _between(self, source: int, target: int) -> Far:
        return NEAR if self._layout is None else self._layout.between(source, target)
