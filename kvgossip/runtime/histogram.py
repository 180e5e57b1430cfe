"""A histogram: how many of the times that were seen lie below each bound. Counting one costs a
fraction of a microsecond."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence


class Histogram:
    """`bounds_s`: rising. Times that are greater than all of them are counted too."""

    __slots__ = ("_counts", "bounds_s", "sum_s")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self.bounds_s = bounds_s
        self.sum_s = 0.0
        self._counts = [0] * (len(bounds_s) + 1)

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds

    @property
    def count(self) -> int:
        """How many times were seen."""
        return sum(self._counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Each bound, at last infinity, and how many times were not greater."""
        total = 0
        for bound_s, count in zip((*self.bounds_s, float("inf")), self._counts, strict=True):
            total += count
            yield bound_s, total
