"""Sampler: once every ten seconds it reads what is counted anyway, for the plots of the last hour.

Nothing is counted for it, so nobody is slower by it: it costs one look at the status of the node
each STEP_S, whether anybody looks at the plots or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from kvgossip.api.http.request_metrics import LoopDelay, Requests
from kvgossip.errors import LocalError
from kvgossip.protocol.model.histogram import quantile
from kvgossip.protocol.model.lag import BOUNDS_S
from kvgossip.runtime.clocks import read_clocks
from kvgossip.runtime.host import resident_bytes
from kvgossip.runtime.series import STEP_S, Series

STATUS = Callable[[], Mapping[str, Any]]
LAGS = Callable[[], list[int]]
UNITS = {
    "requests": "1/s",
    "writes": "1/s",
    "bytes_received": "B/s",
    "bytes_sent": "B/s",
    "exchanges": "1/s",
    "residue": "1/s",
    "rumors_hot": "rumors",
    "unequal": "s",
    "lag_p50": "s",
    "lag_p99": "s",
    "loop_delay": "s",
    "memory": "B",
    "keys": "keys",
    "members_alive": "members",
}
"""The series by name, with their units."""
RATES = ("requests", "writes", "bytes_received", "bytes_sent", "exchanges", "residue")
_KEY_FAMILIES = ("kv", "list", "batch", "waiting", "history")


class Sampler:
    """`status` is the node's, `lags` how many arrivals there were in each bucket of lag.
    `sampled_ms`: when the newest point was taken, ms since 1970; None
    before the first."""

    def __init__(self, status: STATUS, lags: LAGS, requests: Requests, delay: LoopDelay) -> None:
        self.series = Series(tuple(UNITS))
        self.sampled_ms: int | None = None
        self._status, self._lags, self._requests, self._delay = status, lags, requests, delay
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        #: the counts of the sample before, and when it was taken, monotonic seconds
        self._before: dict[str, float] = {}
        self._before_s = 0.0
        self._lags_before: list[int] = []

    def start(self) -> None:
        self._before, self._before_s = self._counts(self._status()), self._loop.time()
        self._lags_before = self._lags()
        self._timer = self._loop.call_later(STEP_S, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(STEP_S, self._tick)
        # a node may be stopped under its server, and started again
        with suppress(LocalError):
            self.sample()

    def sample(self) -> None:
        """Take one point of each series."""
        status, now_s = self._status(), self._loop.time()
        counts, before = self._counts(status), self._before
        # of a loop that was held up the step is longer
        step_s = max(now_s - self._before_s, 1e-3)
        grown = {name: counts[name] - before[name] for name in counts}
        delays = grown["delays"]
        lags = self._lags()
        arrived = [count - old for count, old in zip(lags, self._lags_before, strict=True)]
        if min(arrived) < 0:
            arrived = []
        self.series.add(
            {
                # what begins anew has no rate: the node was started again under its server
                **{name: grown[name] / step_s if grown[name] >= 0 else None for name in RATES},
                "rumors_hot": status["statistics"].get("rumors_hot"),
                "unequal": max(pool["unequal"]["longest_s"] for pool in status["pools"].values()),
                "lag_p50": quantile(BOUNDS_S, arrived, 0.5),
                "lag_p99": quantile(BOUNDS_S, arrived, 0.99),
                "loop_delay": grown["delay_s"] / delays if delays > 0 else None,
                "memory": resident_bytes(),
                "keys": status["keys"],
                "members_alive": status["members"]["alive"],
            }
        )
        self._before, self._before_s, self._lags_before = counts, now_s, lags
        self.sampled_ms = read_clocks().wall_ms

    def _counts(self, status: Mapping[str, Any]) -> dict[str, float]:
        statistics = status["statistics"]
        asked = self._requests.counts.items()
        return {
            "requests": sum(count for (family, _), count in asked if family in _KEY_FAMILIES),
            "writes": statistics.get("writes", 0),
            "bytes_received": statistics.get("bytes_received", 0),
            "bytes_sent": statistics.get("bytes_sent", 0),
            "exchanges": statistics.get("exchanges_completed", 0),
            "residue": statistics.get("exchange_news", 0),
            "delays": self._delay.times.count,
            "delay_s": self._delay.times.sum_s,
        }
