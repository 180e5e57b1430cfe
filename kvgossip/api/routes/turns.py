"""Turns: work for all streams, a step for each, a portion of it in each turn of the event loop, so
that requests do not wait for thousands of streams.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator

STEPS_A_TURN = 256
TURN_S = 0.005
_END = object()


class Turns:
    """At most STEPS_A_TURN steps in a turn, and for TURN_S at most."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        #: The oldest first.
        self._works: deque[Iterator[None]] = deque()
        #: True while a turn is under way or to come.
        self._turning = False

    def add(self, work: Iterator[None]) -> None:
        """Do this work, step by step, after all that was begun before it."""
        self._works.append(work)
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        ends_s = time.perf_counter() + TURN_S
        try:
            for _ in range(STEPS_A_TURN):
                if not self._works or time.perf_counter() > ends_s:
                    break
                if next(self._works[0], _END) is _END:
                    self._works.popleft()
        finally:
            self._turning = bool(self._works)
            if self._works:
                self._loop.call_soon(self._turn)
