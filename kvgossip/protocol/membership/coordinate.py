"""Network coordinates: Vivaldi (Dabek, Cox, Kaashoek, Morris, SIGCOMM 2004), as Serf and HashiCorp
run it.

Every node has a place in a space of eight dimensions, so that the distance between two places is
the round trip between their nodes, also of two that have never talked. A *height* stands for the
way from the node to the network, which every path takes; an *adjustment*, the mean of what the last
twenty samples left over (Lee et al., Sigmetrics 2006), for what no flat space can say. Each sample
- a peer's place and a measured round trip - pulls or pushes the own place by a share of the error,
the more the surer the peer is beside ourselves.

Laws
- Only the direct ack of a datagram is a sample: a helper's way, or a handshake of TCP, is no round
  trip.
- The median of a peer's last three round trips is believed, not each of them: one late packet moves
  nothing (Ledlie et al., NSDI 2007).
- Whatever peers say, a place is finite and bounded; one that is not is refused before it is used,
  and a place that is not starts again.

Deviations, with reasons
- A hostile peer, or one that is wrong, cannot throw us out: the pull of one sample is limited to
  three times the median of the residuals of the last twenty. So while less than half of the samples
  lie, the others hold us; where more say the same, the network itself has changed, and the limit
  follows. And a place far beyond the longest round trips is refused, unless all of them are there.
- The height grows by no more than the force does. Serf's grows by force / distance, without a bound
  where two places nearly coincide.
- A coordinate takes 22 bytes on its way, in half precision: milliseconds to three digits, which is
  more than anybody can measure, and nothing beyond 65 s. Every ack carries one, and an idle cluster
  says little else.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from random import Random
from struct import Struct
from typing import NamedTuple

DIMENSIONS = 8
ERROR_MAX = 1.5
ERROR_SHARE = 0.25
STEP_SHARE = 0.25
WINDOW = 20
TRUSTED_AFTER = 5
OUTLIER_FACTOR = 3.0
OUTLIER_S_MIN = 0.001
ABSURD_FACTOR = 4.0
ABSURD_S_MIN = 0.01
ABSURD_TIMES_MAX = 8
LONGEST_KEPT = 0.99
HEIGHT_S_MIN = 1e-5
FILTER = 3
GRAVITY_S = 150.0
ROUND_TRIP_S_MAX = 10.0
TINY = 1e-6
_PACKED = Struct(f">{DIMENSIONS + 3}e")


class Coordinate(NamedTuple):
    """A place: seconds in every dimension, `height_s` and `adjustment_s`; `error` is relative, 0
    (sure) to 1.5 (knows nothing)."""

    place_s: tuple[float, ...] = (0.0,) * DIMENSIONS
    height_s: float = HEIGHT_S_MIN
    adjustment_s: float = 0.0
    error: float = ERROR_MAX

    @property
    def is_valid(self) -> bool:
        """True if all of it is finite and no farther than any round trip that is measured. False
        for NaN."""
        for number in self.place_s:
            if not -ROUND_TRIP_S_MAX <= number <= ROUND_TRIP_S_MAX:
                return False
        adjusted = -ROUND_TRIP_S_MAX <= self.adjustment_s <= ROUND_TRIP_S_MAX
        return adjusted and 0 <= self.height_s <= ROUND_TRIP_S_MAX and 0 <= self.error <= ERROR_MAX

    def raw_s(self, other: Coordinate) -> float:
        """The distance without the adjustments."""
        return math.dist(self.place_s, other.place_s) + self.height_s + other.height_s

    def distance_s(self, other: Coordinate) -> float:
        """The round trip to expect between the two, seconds. Never negative."""
        raw_s = self.raw_s(other)
        adjusted_s = raw_s + self.adjustment_s + other.adjustment_s
        return adjusted_s if adjusted_s > 0 else raw_s

    def pushed(self, force_s: float, other: Coordinate, rng: Random) -> Coordinate:
        """Moved by so much away from the other one; from the very same place in a random
        direction."""
        direction, distance_s = _direction(self.place_s, other.place_s, rng)
        place_s = tuple(
            number + force_s * part for number, part in zip(self.place_s, direction, strict=True)
        )
        if distance_s <= TINY:
            return Coordinate(place_s, self.height_s, self.adjustment_s, self.error)
        growth_s = (self.height_s + other.height_s) * force_s / distance_s
        growth_s = max(-abs(force_s), min(growth_s, abs(force_s)))
        return Coordinate(
            place_s, max(self.height_s + growth_s, HEIGHT_S_MIN), self.adjustment_s, self.error
        )

    def packed(self) -> bytes:
        """22 bytes."""
        numbers_s = (*self.place_s, self.height_s, self.adjustment_s)
        return _PACKED.pack(*(1000 * number for number in numbers_s), self.error)


ORIGIN = Coordinate()


def unpacked(data: bytes) -> Coordinate | None:
    """The place that a peer has sent; None where it sent none, or one that cannot be."""
    if len(data) != _PACKED.size:
        return None
    *numbers_ms, error = _PACKED.unpack(data)
    numbers_s = [number / 1000 for number in numbers_ms]
    place = Coordinate(
        tuple(numbers_s[:DIMENSIONS]), numbers_s[DIMENSIONS], numbers_s[DIMENSIONS + 1], error
    )
    return place if place.is_valid else None


def _direction(
    frm: tuple[float, ...], to: tuple[float, ...], rng: Random
) -> tuple[list[float], float]:
    """The unit vector from the second place to the first, and how far they are apart."""
    difference = [one - other for one, other in zip(frm, to, strict=True)]
    length = math.hypot(*difference)
    if length > TINY:
        return [part / length for part in difference], length
    drawn = [rng.random() - 0.5 for _ in frm]
    length = math.hypot(*drawn)
    return (
        [part / length for part in drawn] if length > TINY else [1.0] + [0.0] * (len(frm) - 1)
    ), 0.0


class Coordinates:
    """This node's place, and those that peers last sent. `rng` decides in which direction two nodes
    part that believe to be in one place, and nothing else.
    """

    __slots__ = (
        "_absurd_in_a_row",
        "_filters",
        "_longest_s",
        "_peers",
        "_residuals_s",
        "_rng",
        "own",
        "refused",
        "resets",
        "samples",
    )

    def __init__(self, rng: Random) -> None:
        #: the place of this node
        self.own = ORIGIN
        #: how many samples were taken, and were not; how often this node started again
        self.samples = self.refused = self.resets = 0
        self._rng = rng
        #: the longest of the last round trips, seconds, and how many absurd places came in a row
        self._longest_s, self._absurd_in_a_row = 0.0, 0
        #: by the names of peers
        self._peers: dict[str, Coordinate] = {}
        #: the last round trips of each, seconds
        self._filters: dict[str, deque[float]] = {}
        #: the residuals of the last samples, seconds
        self._residuals_s: deque[float] = deque(maxlen=WINDOW)

    def sampled(self, peer: str, data: bytes, round_trip_s: float) -> None:
        """A peer sent its packed coordinate in a direct ack, after so long. One of an older release
        sends none, and counts for nothing."""
        if not data:
            return
        place = unpacked(data)
        if (
            place is None
            or not 0 <= round_trip_s <= ROUND_TRIP_S_MAX
            or self._is_absurd(place, round_trip_s)
        ):
            self.refused += 1
            return
        self.samples += 1
        self._peers[peer] = place
        self._move(place, max(self._filtered_s(peer, round_trip_s), TINY))
        if not self.own.is_valid:
            self.own = ORIGIN
            self._residuals_s.clear()
            self.resets += 1

    def of(self, peer: str) -> Coordinate | None:
        """The place that the peer last sent; None before the first."""
        return self._peers.get(peer)

    def forget(self, peer: str) -> None:
        self._peers.pop(peer, None)
        self._filters.pop(peer, None)

    def _is_absurd(self, place: Coordinate, round_trip_s: float) -> bool:
        """True if it is farther away than the longest round trips reach. If all are, it is this
        node that is elsewhere: then they are believed."""
        self._longest_s = max(round_trip_s, self._longest_s * LONGEST_KEPT)
        if (
            self.own.raw_s(place) <= ABSURD_FACTOR * max(self._longest_s, ABSURD_S_MIN)
            or self._absurd_in_a_row >= ABSURD_TIMES_MAX
        ):
            self._absurd_in_a_row = 0
            return False
        self._absurd_in_a_row += 1
        return True

    def _filtered_s(self, peer: str, round_trip_s: float) -> float:
        last = self._filters.setdefault(peer, deque(maxlen=FILTER))
        last.append(round_trip_s)
        return _median_low(last)

    def _move(self, peer: Coordinate, round_trip_s: float) -> None:
        """One step of Vivaldi; then the adjustment, then a pull towards the origin, so that the
        whole cloud does not drift away."""
        limit_s = self._limit_s(round_trip_s)
        apart_s = _clipped(round_trip_s - self.own.distance_s(peer), limit_s)
        weight = self.own.error / max(self.own.error + peer.error, TINY)
        share = ERROR_SHARE * weight
        error = min(share * abs(apart_s) / round_trip_s + self.own.error * (1 - share), ERROR_MAX)
        moved = self.own._replace(error=error).pushed(
            STEP_SHARE * weight * apart_s, peer, self._rng
        )
        self._residuals_s.append(round_trip_s - moved.raw_s(peer))
        adjustment_s = sum(_clipped(residual_s, limit_s) for residual_s in self._residuals_s) / (
            2 * WINDOW
        )
        gravity_s = -((moved.raw_s(ORIGIN) / GRAVITY_S) ** 2)
        self.own = moved._replace(adjustment_s=adjustment_s).pushed(gravity_s, ORIGIN, self._rng)

    def _limit_s(self, round_trip_s: float) -> float:
        """How much one sample may pull at most. The first few are believed as far as their round
        trip goes."""
        if len(self._residuals_s) < TRUSTED_AFTER:
            return max(round_trip_s, OUTLIER_S_MIN)
        return max(OUTLIER_FACTOR * _median_low(map(abs, self._residuals_s)), OUTLIER_S_MIN)


def _median_low(numbers: Iterable[float]) -> float:
    """The low median of some numbers, as in the statistics module, without its checks: every ack
    asks for two."""
    ordered = sorted(numbers)
    return ordered[(len(ordered) - 1) // 2]


def _clipped(number: float, limit: float) -> float:
    return max(-limit, min(number, limit))
