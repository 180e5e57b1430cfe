"""Measurements of a server while it serves: its requests and how long they took, and how late the
event loop is."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from functools import partial

from kvgossip.protocol.model.histogram import Histogram

REQUEST_BOUNDS_S = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    10.0,
    60.0,
)
DELAY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LOOK_S = 0.25


class Requests:
    """`counts` by family of routes and status, `times` by family: until the answer is ready, of a
    stream until it begins."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int]] = Counter()
        self._times: defaultdict[str, Histogram] = defaultdict(partial(Histogram, REQUEST_BOUNDS_S))

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        return {(family, str(status)): count for (family, status), count in self._counts.items()}

    @property
    def times(self) -> dict[tuple[str], Histogram]:
        return {(family,): times for family, times in self._times.items()}

    def observe(self, family: str, status: int, seconds: float) -> None:
        self._counts[family, status] += 1
        self._times[family].observe(seconds)


class LoopDelay:
    """How much later than asked for the event loop calls back, seen each LOOK_S: every request and
    every probe waits as long."""

    def __init__(self) -> None:
        self.times = Histogram(DELAY_BOUNDS_S)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = self._loop.call_later(LOOK_S, self._look, self._loop.time() + LOOK_S)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, due_s: float) -> None:
        self.times.observe(max(0.0, self._loop.time() - due_s))
        self.start()
