"""Handshakes: how much of each turn of the event loop goes to them.

A handshake costs a node as much as a hundred requests, and a client next to nothing. So those who
are served already get their turn between a few handshakes and the next, however many wait; and who
waits too long meets the limit of a head.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

TURN_S = 0.002
"""So much of a turn, and the rest of the step that was begun."""


class Handshakes:
    """Of one server. Steps are done in the order in which they come."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Callable[[], None]] = deque()
        #: What this turn has spent; None before its first step.
        self._spent_s: float | None = None

    def do(self, step: Callable[[], None]) -> bool:
        """Does this now, or, where the turn has spent its time, in one of the next: then False."""
        if self._spent_s is None:
            self._spent_s = 0.0
            self._loop.call_soon(self._next_turn)
        if self._waiting or self._spent_s >= TURN_S:
            self._waiting.append(step)
            return False
        self._measure(step)
        return True

    def _next_turn(self) -> None:
        if not self._waiting:
            self._spent_s = None
            return
        self._spent_s = 0.0
        self._loop.call_soon(self._next_turn)
        self._measure(self._waiting.popleft())
        while self._waiting and self._spent_s < TURN_S:
            self._measure(self._waiting.popleft())

    def _measure(self, step: Callable[[], None]) -> None:
        assert self._spent_s is not None
        began_s = time.perf_counter()
        step()
        self._spent_s += time.perf_counter() - began_s
