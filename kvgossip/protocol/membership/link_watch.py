"""LinkWatch: the round trip and the losses of the ways to other members, against what is usual for
each (kvgossip/trends/), by the probes that there are anyway.

A round trip is judged by the logarithm of itself and EVEN_MS: three times as long is the same
change on any link, and what lies below a fraction of a millisecond is all the same.

Laws
- A link is ROW_BYTES in one array, whatever happens on it, and its place there.
- A probe that nothing answered says nothing of the link: perhaps nobody is there.
- A member that has moved, or is forgotten, is met anew.
- Nothing that SWIM believes changes by what is seen here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from kvgossip.trends import baseline as baselines
from kvgossip.trends import loss as losses
from kvgossip.trends.baseline import Baseline
from kvgossip.trends.loss import Loss, Way

ROW_BYTES = baselines.STATE_BYTES + losses.STATE_BYTES
HEARD_AT = baselines.STATE_BYTES - 1
"""The last byte of a baseline is free: there stands how many pings came since the last probe."""
HEARD_MAX = 255
EVEN_MS = 0.5
FLOOR = 0.05
"""The least deviation of a round trip that matters: a twentieth of it."""


class Link(NamedTuple):
    """The way to one member. `usual_ms`: the round trip. `slower_s`: for how long it has been
    longer, `losing_s`: more packets have been lost than usual, the share `lost`, on that way; None
    where that is not so. `probes_until`: within how many probes, `every_s` apart, a round trip of
    three times as long is found; infinite: never."""

    name: str
    usual_ms: float
    slower_s: float | None
    losing_s: float | None
    lost: float
    usual_lost: float
    way: Way
    probes_until: float
    every_s: float


class LinkWatch:
    """Of one pool."""

    __slots__ = ("_changed", "_free", "_places", "_rows")

    def __init__(self) -> None:
        self._rows = bytearray()
        #: by name, the place of its row
        self._places: dict[str, int] = {}
        #: places that nobody has any more
        self._free: list[int] = []
        #: the links that are not as usual
        self._changed: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._places)

    # -- probes -----------------------------------------------------------------------------------

    def heard(self, name: str) -> None:
        """A ping of this member came by a datagram."""
        place = self._places.get(name)
        if place is not None:
            at = place * ROW_BYTES + HEARD_AT
            self._rows[at] = min(self._rows[at] + 1, HEARD_MAX)

    def concluded(self, name: str, round_trip_s: float | None, elapsed_s: float) -> None:
        """A probe of this member is over, and it was answered, so long after the one before: by a
        datagram after `round_trip_s`, or, where that is None, in another way alone."""
        begin = self._begin_of(name)
        heard = self._rows[begin + HEARD_AT]
        baseline, loss = self._read(begin)
        loss.add(
            lost=round_trip_s is None,
            heard=heard,
            elapsed_s=elapsed_s,
            count=baseline.count,
            judged=baseline.is_judged,
        )
        if round_trip_s is not None:
            baseline.add(math.log(EVEN_MS + 1000 * max(round_trip_s, 0.0)), elapsed_s)
        self._write(begin, baseline, loss)
        if baseline.has_risen or loss.has_risen:
            self._changed[name] = None
        else:
            self._changed.pop(name, None)

    def forget(self, name: str) -> None:
        place = self._places.pop(name, None)
        self._changed.pop(name, None)
        if place is not None:
            self._free.append(place)

    # -- questions --------------------------------------------------------------------------------

    def changed(self) -> list[Link]:
        """The links that are slower, or lose more, than usual."""
        return [self.link(name) for name in self._changed]

    def link(self, name: str) -> Link:
        """Raises KeyError for a member that was not probed."""
        baseline, loss = self._read(self._places[name] * ROW_BYTES)
        usual_ms = math.exp(baseline.middle) - EVEN_MS
        every_s = baseline.age_s / max(baseline.count - 1, 1.0)
        thrice = math.log((EVEN_MS + 3 * usual_ms) / (EVEN_MS + usual_ms))
        return Link(
            name,
            usual_ms,
            baseline.since_s if baseline.has_risen else None,
            loss.packets * every_s if loss.has_risen else None,
            loss.share,
            loss.usual,
            loss.way,
            baseline.numbers_until(thrice),
            every_s,
        )

    # -- rows -------------------------------------------------------------------------------------

    def kept(self) -> dict[str, bytes]:
        """What the next life may go on from, by name."""
        rows = self._rows
        return {
            name: bytes(rows[place * ROW_BYTES : (place + 1) * ROW_BYTES])
            for name, place in self._places.items()
        }

    def take(self, kept: Mapping[str, bytes]) -> None:
        """Go on from what an earlier life kept, for members that were not probed yet."""
        for name, row in kept.items():
            if len(row) == ROW_BYTES and name not in self._places:
                baseline, loss = Baseline(FLOOR), Loss()
                baseline.unpack(row[: baselines.STATE_BYTES])
                loss.unpack(row[baselines.STATE_BYTES :])
                self._write(self._begin_of(name), baseline, loss)

    def _begin_of(self, name: str) -> int:
        """Where the row of this member begins; a new one, where it has none."""
        place = self._places.get(name)
        if place is None:
            if self._free:
                place = self._free.pop()
            else:
                place = len(self._rows) // ROW_BYTES
                self._rows += bytes(ROW_BYTES)
            self._places[name] = place
            self._write(place * ROW_BYTES, Baseline(FLOOR), Loss())
        return place * ROW_BYTES

    def _read(self, begin: int) -> tuple[Baseline, Loss]:
        baseline, loss, between = Baseline(FLOOR), Loss(), begin + baselines.STATE_BYTES
        baseline.unpack(bytes(self._rows[begin:between]))
        loss.unpack(bytes(self._rows[between : begin + ROW_BYTES]))
        return baseline, loss

    def _write(self, begin: int, baseline: Baseline, loss: Loss) -> None:
        self._rows[begin : begin + ROW_BYTES] = baseline.packed() + loss.packed()
