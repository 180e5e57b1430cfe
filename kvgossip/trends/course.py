"""Course: the way that a number took, in at most POINTS_MAX points, however long it is: for
forecasts.

The first points are STEP_S apart. Where there are POINTS_MAX, each two become one, and the step is
twice as long, until a point stands for a 64th of a day; from then on the oldest one goes. So at any
time there are 32 to 64 points over all that there was, up to a day.

A point is the greatest number of its step. What is written to a disk grows in saw-teeth: compaction
gives back what it has copied. The disk is full by the tips; and the slope of the tips is that of
the data, wherever the teeth begin, once a step is longer than a tooth or there are some teeth.

    used  |            /|      /|
          |     /|   /  |    /  |  /    full when the line through the tips meets the size
          |   /  |_/    |__/    |/
          +-----------------------> time

Laws
- A line reaches as far as `factor` times what was seen, and no further: an hour says nothing of
  next week. What was seen is SPAN_MIN_S at least.
- It is a forecast only where the interval of the slope says that the number rises, and where the
  later half rises at no less than a quarter of that pace: what has grown, and grows no longer,
  comes to no limit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from kvgossip.trends.baseline import DAY_S
from kvgossip.trends.slope import Slope, theil_sen

POINTS_MAX = 64
STEP_S = 10.0
FACTOR = 4.0
SPAN_MIN_S = 600.0


class Forecast(NamedTuple):
    """Seconds from now: most likely, at the earliest and at the latest. `slope`: a unit a
    second."""

    in_s: float
    earliest_s: float
    latest_s: float
    slope: float


class Course:
    """Of one number, of the last `span_max_s`."""

    __slots__ = ("_begin_s", "_points", "_span_max_s", "_step_s")

    def __init__(self, span_max_s: float = DAY_S) -> None:
        self._span_max_s, self._step_s = span_max_s, STEP_S
        #: when the first point began; infinite: there is none
        self._begin_s = math.inf
        #: the greatest number of each step, None where there was none
        self._points: list[float | None] = []

    @property
    def span_s(self) -> float:
        """How long it was seen."""
        return len(self._points) * self._step_s

    def clear(self) -> None:
        self._points, self._begin_s = [], math.inf

    def add(self, at_s: float, number: float) -> None:
        """Times rise; one that is before the first point begins anew."""
        if not self._points or at_s < self._begin_s:
            self.clear()
            self._begin_s = at_s
        place = int((at_s - self._begin_s) // self._step_s)
        if place >= 4 * POINTS_MAX:
            # nothing was seen for long
            self.clear()
            self._begin_s, place = at_s, 0
        while place >= POINTS_MAX:
            self._make_room()
            place = int((at_s - self._begin_s) // self._step_s)
        self._points += [None] * (place + 1 - len(self._points))
        before = self._points[place]
        self._points[place] = number if before is None else max(before, number)

    def _make_room(self) -> None:
        points = self._points
        if POINTS_MAX * self._step_s >= self._span_max_s:
            del points[0]
            self._begin_s += self._step_s
            return
        self._step_s *= 2
        pairs = [points[at : at + 2] for at in range(0, len(points), 2)]
        self._points = [
            max((each for each in pair if each is not None), default=None) for pair in pairs
        ]

    def slope(self) -> Slope | None:
        """None where there are too few points. The point that is not complete yet does not
        count."""
        return self._slope_from(0)

    def _slope_from(self, place: int) -> Slope | None:
        known = [
            (at * self._step_s, value)
            for at, value in enumerate(self._points[:-1])
            if value is not None and at >= place
        ]
        return theil_sen([at_s for at_s, _ in known], [value for _, value in known])

    def reaches(self, limit: float, factor: float = FACTOR) -> Forecast | None:
        """When it comes to this limit; None: it does not, or nothing is known."""
        slope = self.slope() if self.span_s >= SPAN_MIN_S else None
        if slope is None or not slope.is_rising:
            return None
        later = self._slope_from(len(self._points) // 2)
        if later is not None and later.slope <= slope.slope / 4:
            return None
        once_s = slope.seconds_until(limit)
        if once_s > factor * self.span_s:
            return None
        earliest_s, latest_s = slope.earliest_s(limit), slope.latest_s(limit)
        return Forecast(once_s, earliest_s, latest_s, slope.slope)
