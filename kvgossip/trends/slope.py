"""Slope: the median of the slopes between any two points, with an interval (Theil 1950, Sen 1968).

Up to 29 of 100 points may lie anywhere, and the slope stays. The interval follows from Kendall's
rank correlation, without an assumption of what the noise is: with n points its ends stand QUANTILE
sqrt(n (n - 1) (2 n + 5) / 18) / 2 ranks from the middle of all slopes.

With 64 points there are 2016 slopes, a millisecond of plain Python. numpy takes a tenth of that,
and 0.2 s to be imported: so it is used where the process has loaded it anyway, and gives the same
numbers to the last bit, for the operations are the same.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

QUANTILE = 3.29
"""Of the normal distribution: the slope is within the interval in 999 cases of 1000."""
POINTS_MIN = 8
FEW = 16
"""So few points are not worth the calls of numpy."""


class Slope(NamedTuple):
    """A unit a second, and the ends of the interval. `height`: the line's height at the last
    point."""

    slope: float
    low: float
    high: float
    height: float

    @property
    def is_rising(self) -> bool:
        """True if it is no chance that the later ones are the greater ones."""
        return self.low > 0

    def seconds_until(self, limit: float) -> float:
        """When the line reaches the limit; infinite: never."""
        return max(limit - self.height, 0.0) / self.slope if self.slope > 0 else math.inf

    def earliest_s(self, limit: float) -> float:
        """When it does if it is as steep as it may be."""
        return max(limit - self.height, 0.0) / self.high if self.high > 0 else math.inf

    def latest_s(self, limit: float) -> float:
        """When it does if it is as flat as it may be."""
        return max(limit - self.height, 0.0) / self.low if self.low > 0 else math.inf


def theil_sen(times_s: Sequence[float], values: Sequence[float]) -> Slope | None:
    """Times rise. None where there are less than POINTS_MIN points."""
    count = len(times_s)
    if count < POINTS_MIN:
        return None
    numpy = sys.modules.get("numpy") if count > FEW else None
    slopes = _plain(times_s, values) if numpy is None else _by_numpy(numpy, times_s, values)
    slope = middle(slopes)
    apart = QUANTILE * math.sqrt(count * (count - 1) * (2 * count + 5) / 18) / 2
    last = len(slopes) - 1
    low, high = math.floor(last / 2 - apart), math.ceil(last / 2 + apart)
    end_s = times_s[-1]
    height = middle(
        sorted(value + slope * (end_s - at_s) for at_s, value in zip(times_s, values, strict=True))
    )
    return Slope(
        slope,
        slopes[low] if low >= 0 else -math.inf,
        slopes[high] if high <= last else math.inf,
        height,
    )


def middle(rising: Sequence[float]) -> float:
    """The median of numbers in their order."""
    half = len(rising) // 2
    return rising[half] if len(rising) % 2 else (rising[half - 1] + rising[half]) / 2


def _plain(times_s: Sequence[float], values: Sequence[float]) -> list[float]:
    return sorted(
        (values[later] - values[earlier]) / (times_s[later] - times_s[earlier])
        for earlier in range(len(times_s))
        for later in range(earlier + 1, len(times_s))
    )


def _by_numpy(numpy: Any, times_s: Sequence[float], values: Sequence[float]) -> list[float]:
    times, heights = numpy.asarray(times_s, dtype=float), numpy.asarray(values, dtype=float)
    earlier, later = numpy.triu_indices(len(times_s), 1)
    slopes = (heights[later] - heights[earlier]) / (times[later] - times[earlier])
    found: list[float] = numpy.sort(slopes).tolist()
    return found
