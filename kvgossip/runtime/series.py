"""Series: numbers of the last hour, for plots. Each is a ring of doubles: an hour of a dozen series
takes 35 KB, and a sample allocates nothing."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence

STEP_S = 10
POINTS_MAX = 360


class Series:
    """One ring for each of these names."""

    def __init__(self, names: Sequence[str], points_max: int = POINTS_MAX) -> None:
        self._rings = {name: array("d", [math.nan]) * points_max for name in names}
        self._points_max = points_max
        #: how many samples there were
        self._samples = 0

    def __len__(self) -> int:
        """How many points each series has."""
        return min(self._samples, self._points_max)

    def add(self, numbers: Mapping[str, float | None]) -> None:
        """One more point of each series; None, and what is left out, is not known."""
        place = self._samples % self._points_max
        for name, ring in self._rings.items():
            number = numbers.get(name)
            ring[place] = math.nan if number is None else number
        self._samples += 1

    def values(self, name: str) -> list[float | None]:
        """Oldest first."""
        ring, end = self._rings[name], self._samples
        places = (at % self._points_max for at in range(end - len(self), end))
        return [None if math.isnan(ring[at]) else round(ring[at], 6) for at in places]
