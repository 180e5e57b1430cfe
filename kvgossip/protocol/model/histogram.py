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
    def counts(self) -> Sequence[int]:
        """How many times lie in each bucket, the last one without a bound."""
        return self._counts

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


def quantile(bounds_s: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The time, seconds, that this share of those that were counted does not exceed, as Prometheus
    estimates it: within a bucket they lie evenly. None where nothing was counted; beyond the
    greatest bound it is that bound."""
    rank = share * sum(counts)
    least_s = 0.0
    for bound_s, count in zip(bounds_s, counts, strict=False):
        if count and rank <= count:
            return least_s + (bound_s - least_s) * rank / count
        rank -= count
        least_s = bound_s
    return least_s if any(counts) else None
